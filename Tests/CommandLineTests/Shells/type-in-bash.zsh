# Types each line and a Tab into an interactive bash, and prints what then stands on its line, as LINE^ARESULT.
# usage: type-in-bash.zsh DIRECTORY LINE...; DIRECTORY has the script wg6.bash
zmodload zsh/zpty zsh/zselect
directory=$1
shift
typed=$directory/typed
: >$typed

await() {
  local tries=0 echoed
  until [[ $(<$typed) = *$1* ]]; do
    (( ++tries > 1000 )) && { print -u2 "no answer: $1"; exit 1; }
    zpty -r -t inner echoed
    zselect -t 1
  done
}

zpty -b inner bash --norc --noprofile -i
zpty -w inner "source $directory/wg6.bash; typed=$directory/typed; write_down() { printf '%s\n' \"\$READLINE_LINE\" end-\$((++count)) >>\$typed; READLINE_LINE=; }; bind -x '\"\\C-g\": write_down'; bind 'set bell-style none'; echo ready >>\$typed"
await ready
count=0
for line in "$@"; do
  : >$typed
  zpty -w -n inner "$line"$'\t\a'
  await end-$((++count))
  print -r -- "$line"$'\1'"${${(f)"$(<$typed)"}[1]}"
done
zpty -d inner
