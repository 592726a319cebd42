# @NAME@: runs commands on the server; each word arrives as it is written here.
@NAME@() {
    local word line=
    for word; do line+=" '${word//\'/\'\\\'\'}'"; done
    @SSH@ "$line"
}

_@NAME@() {
    # Commands have colons, at which bash would cut words.
    local cur=${COMP_LINE:0:COMP_POINT} words
    cur=${cur##* }
    read -ra words <<< "${COMP_LINE:0:COMP_POINT}."
    case ${#words[@]} in
    2) COMPREPLY=($(compgen -W "@COMMANDS@" -- "$cur")) ;;
    3) COMPREPLY=($(compgen -W "$(@SSH@ apps 2>/dev/null </dev/null)" -- "$cur")) ;;
    *) COMPREPLY=() ;;
    esac
    [[ $cur == *:* ]] && COMPREPLY=("${COMPREPLY[@]#"${cur%:*}:"}")
    return 0
}
complete -o default -F _@NAME@ @NAME@
