# @NAME@: runs commands on the server; each word arrives as it is written here.
function @NAME@
    set -l line
    for word in $argv
        set -a line "'"(string replace --all "'" "'\\''" -- $word)"'"
    end
    @SSH@ "$line"
end

complete -c @NAME@ -f -n '__fish_is_nth_token 1' -a '@COMMANDS@'
complete -c @NAME@ -f -n '__fish_is_nth_token 2' -a '(@SSH@ apps 2>/dev/null </dev/null)'
