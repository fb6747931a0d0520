# Prints what the installed completion offers for each line, as LINE^AWORD, and LINE^A alone first.
# usage: offers.bash DIRECTORY LINE...; DIRECTORY has the script wg6.bash
source "$1/wg6.bash"
shift
for line in "$@"; do
  printf '%s\1\n' "$line"
  # As bash cuts a line: at blanks, and behind each @. The word that is completed has its @ in $2 all the same.
  read -ra COMP_WORDS <<<"${line//@/@ }"
  [[ $line == *' ' ]] && COMP_WORDS+=('')
  current=${line##* }
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  COMP_LINE=$line
  COMP_POINT=${#line}
  COMPREPLY=()
  _wg6 wg6 "$current" "${COMP_WORDS[COMP_CWORD - 1]}"
  for word in "${COMPREPLY[@]}"; do printf '%s\1%s\n' "$line" "$word"; done
done
