# Prints what the installed completion offers for each line, as LINE^AWORD, and LINE^A alone first: types it and a Tab into
# an interactive zsh, whose compadd writes down what it is given.
# usage: offers.zsh DIRECTORY LINE...; DIRECTORY has the script wg6.zsh
zmodload zsh/zpty zsh/zselect
directory=$1
shift
offers=$directory/offers
: >$offers

# Waits until the inner shell has written a line that is $1, ten seconds at most. What it echoes is read away, or it would wait.
await() {
  local tries=0 echoed
  until [[ ${(M)${(f)"$(<$offers)"}:#$1} ]]; do
    (( ++tries > 1000 )) && { print -u2 "no answer: $1"; exit 1; }
    zpty -r -t inner echoed
    zselect -t 1
  done
}

zpty -b inner zsh -f -i
zpty -w inner "unsetopt zle_bracketed_paste 2>/dev/null; autoload -Uz compinit; compinit -u -D; source $directory/wg6.zsh"
zpty -w inner "offers=$directory/offers; write_down() { compadd() {
  if [[ \${@[1,(i)(-|--)]} != *-(O|A|D)\\ * ]]; then
    local -a found; builtin compadd -A found \"\$@\"; for word in \$found; do print -r -- \"+\$word\" >>\$offers; done
  fi; builtin compadd \"\$@\" }; }; compprefuncs=(write_down); LISTMAX=100000; unsetopt automenu beep"
zpty -w inner "end_of_line() { BUFFER=; print -r -- end-\$((++count)) >>\$offers; compprefuncs=(write_down) }; zle -N end_of_line; bindkey '^G' end_of_line; bindkey '^I' complete-word; print ready >>\$offers"
await ready
count=0
for line in "$@"; do
  : >$offers
  print -rn -- "$line"$'\1\n'
  zpty -w -n inner "$line"$'\t\a'
  await end-$((++count))
  for word in ${(f)"$(<$offers)"}; do [[ $word = +* ]] && print -r -- "$line"$'\1'"${word#+}"; done
done
zpty -d inner
