# Prints what the installed completion offers for each line, as LINE^AWORD<Tab>NOTE, and LINE^A alone first.
# usage: offers.fish DIRECTORY LINE...; DIRECTORY has the script wg6.fish
source $argv[1]/wg6.fish
for line in $argv[2..]
    printf '%s\1\n' $line
    for offer in (complete -C $line)
        printf '%s\1%s\n' $line $offer
    end
end
