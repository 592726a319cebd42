# @NAME@: runs commands on the server; each word arrives as it is written here.
@NAME@() {
    local word line=
    for word; do line+=" ${(qq)word}"; done
    @SSH@ "$line"
}

_@NAME@() {
    case $CURRENT in
    2) compadd -- ${=:-"@COMMANDS@"} ;;
    3) compadd -- ${(f)"$(@SSH@ apps 2>/dev/null </dev/null)"} ;;
    *) _files ;;
    esac
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
compdef _@NAME@ @NAME@
