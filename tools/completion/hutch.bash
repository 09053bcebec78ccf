# Completion of hutch for bash. Installed as bash-completion/completions/hutch.

_hutch() {
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local command=${COMP_WORDS[1]} i
    local run_options="--dir --image --tmpfs --volume --mapdir --env --invoke --argv0 --wasm -W --timeout \
--allow-precompiled --listen --fastcgi --snapshot --reset --optimize -O --target --jobs -j --profile --profile-out --cache-dir --no-cache --help"
    local compile_options="--output -o --optimize -O --target --jobs -j --placement --dump-dir \
--profile --profile-generate --cache-dir --no-cache --help"
    local snapshot_options="--name --output -o --request --fastcgi --dir --image --tmpfs --volume --mapdir --env --argv0 \
--wasm -W --allow-precompiled --optimize -O --target --jobs -j --profile --cache-dir --no-cache --json --help"
    COMPREPLY=()

    if [[ $COMP_CWORD -eq 1 ]]; then
        COMPREPLY=($(compgen -W "run compile inspect image snapshot cache bundle import key app serve usage top help --help --version" -- "$word"))
        return
    fi
    case $previous in
    --dir | --dump-dir | --cache-dir | --trust-dir) COMPREPLY=($(compgen -d -- "$word")) && return ;;
    --env) COMPREPLY=($(compgen -e -- "$word")) && return ;;
    -O | --optimize) COMPREPLY=($(compgen -W "0 1 2 3 fast" -- "$word")) && return ;;
    --target)
        [[ $command == bundle ]] && COMPREPLY=($(compgen -W "v2 v3 v4 v2,v3,v4 native" -- "$word")) && return
        COMPREPLY=($(compgen -W "native x86-64-v2 x86-64-v3 x86-64-v4" -- "$word"))
        return
        ;;
    --placement) COMPREPLY=($(compgen -W "pinned relocatable" -- "$word")) && return ;;
    -W | --wasm)
        COMPREPLY=($(compgen -S = -W "max-memory-size max-wasm-stack timeout" -- "$word"))
        compopt -o nospace 2>/dev/null
        return
        ;;
    -o | --output | --request | --snapshot | --profile | --profile-out | --image | --sign) COMPREPLY=($(compgen -f -- "$word")) && return ;;
    -j | --jobs | --listen | --timeout | --mapdir | --tmpfs | --volume | --invoke | --argv0) return ;;
    esac
    case $command in
    help)
        COMPREPLY=($(compgen -W "run compile inspect image snapshot cache bundle import key app serve usage top" -- "$word"))
        return
        ;;
    run)
        # What follows the program is the program's: file names.
        for ((i = 2; i < COMP_CWORD; i++)); do
            if [[ ${COMP_WORDS[i]} == *.wasm || ${COMP_WORDS[i]} == *.hutch ]]; then
                COMPREPLY=($(compgen -f -- "$word"))
                return
            fi
        done
        [[ $word == -* ]] && COMPREPLY=($(compgen -W "$run_options" -- "$word")) && return
        ;;
    compile)
        [[ $word == -* ]] && COMPREPLY=($(compgen -W "$compile_options" -- "$word")) && return
        ;;
    snapshot)
        if [[ $COMP_CWORD -eq 2 ]]; then
            COMPREPLY=($(compgen -W "create list inspect rm" -- "$word"))
            return
        fi
        [[ $word == -* ]] && COMPREPLY=($(compgen -W "$snapshot_options" -- "$word")) && return
        ;;
    image)
        if [[ $word == -* ]]; then
            COMPREPLY=($(compgen -W "--output -o --mtime --help" -- "$word"))
        elif [[ $COMP_CWORD -eq 2 ]]; then
            COMPREPLY=($(compgen -W "create list check" -- "$word"))
        else
            COMPREPLY=($(compgen -f -- "$word"))
        fi
        return
        ;;
    inspect)
        [[ $word == -* ]] && COMPREPLY=($(compgen -W "--json --functions --trust-dir --help" -- "$word")) && return
        ;;
    cache)
        case $previous in
        --kind) COMPREPLY=($(compgen -W "module object image manifest snapshot other" -- "$word")) && return ;;
        --sort) COMPREPLY=($(compgen -W "used size hits" -- "$word")) && return ;;
        --as | --max-size | --min-free) return ;;
        esac
        if [[ $word == -* ]]; then
            COMPREPLY=($(compgen -W "--json --cache-dir --kind --sort --full --as --max-size \
--min-free --dry-run --help" -- "$word"))
        elif [[ $COMP_CWORD -eq 2 ]]; then
            COMPREPLY=($(compgen -W "list show name remove pin unpin verify gc export-stats" -- "$word"))
        else
            COMPREPLY=($(compgen -f -X '!*.wasm' -- "$word") $(compgen -d -S / -- "$word"))
        fi
        return
        ;;
    bundle)
        case $previous in
        --name | --level | --sequence | --expires | --arg) return ;;
        esac
        [[ $word == -* ]] && COMPREPLY=($(compgen -W "--output -o --target --sign --name --image --env --arg \
--instaboot --snapshot --level --optimize -O --jobs -j --profile --sequence --expires --no-objects --cache-dir --json --help" -- "$word")) && return
        ;;
    import)
        [[ $previous == --max-size ]] && return
        [[ $word == -* ]] && COMPREPLY=($(compgen -W "--allow-unsigned --allow-older --trust-dir --cache-dir \
--max-size --dry-run --json --help" -- "$word")) && return
        ;;
    key)
        [[ $previous == --name || $previous == --reason ]] && return
        if [[ $word == -* ]]; then
            COMPREPLY=($(compgen -W "--output -o --trust-dir --name --reason --cache-dir --json --help" -- "$word"))
        elif [[ $COMP_CWORD -eq 2 ]]; then
            COMPREPLY=($(compgen -W "generate list trust revoke" -- "$word"))
        else
            COMPREPLY=($(compgen -f -X '!*.pub' -- "$word") $(compgen -d -S / -- "$word"))
        fi
        return
        ;;
    app)
        [[ $word == -* ]] && COMPREPLY=($(compgen -W "--no-files --json --help" -- "$word")) && return
        [[ $COMP_CWORD -eq 2 ]] && COMPREPLY=($(compgen -W "check schema" -- "$word")) && return
        COMPREPLY=($(compgen -f -X '!*.yaml' -- "$word") $(compgen -d -S / -- "$word"))
        return
        ;;
    usage)
        [[ $previous == --by ]] && COMPREPLY=($(compgen -W "hour day month total" -- "$word")) && return
        [[ $previous == --state-dir ]] && COMPREPLY=($(compgen -d -- "$word")) && return
        COMPREPLY=($(compgen -W "--app --since --until --by --json --csv --state-dir --help" -- "$word"))
        return
        ;;
    top)
        COMPREPLY=($(compgen -W "--admin --interval -d --once --json --help" -- "$word"))
        return
        ;;
    serve)
        case $previous in
        --state-dir | --secrets-dir | --profile-dir) COMPREPLY=($(compgen -d -- "$word")) && return ;;
        --access-log | --log) COMPREPLY=($(compgen -f -- "$word")) && return ;;
        -l | --listen | --fastcgi-listen | --admin | --max-* | --spares | --prepared | --*-timeout) return ;;
        esac
        if [[ $word == -* ]]; then
            COMPREPLY=($(compgen -W "--listen -l --fastcgi-listen --admin --state-dir --access-log --log --secrets-dir --profile-dir --cache-dir --optimize -O --max-tenants --spares --prepared --cgroup --keep-free --max-hibernated --max-connections --max-header --max-request-line --header-timeout --body-timeout --write-timeout --idle-timeout --drain-timeout --help" -- "$word"))
        else
            COMPREPLY=($(compgen -f -X '!*.@(yaml|yml)' -- "$word") $(compgen -d -S / -- "$word"))
        fi
        return
        ;;
    *) return ;;
    esac
    local pattern='!*.wasm'
    [[ $command == inspect ]] && pattern='!*.hutch'
    [[ $command == import ]] && pattern='!*.tar'
    [[ $command == run && " ${COMP_WORDS[*]} " == *" --allow-precompiled "* ]] && pattern='!*.hutch'
    COMPREPLY=($(compgen -f -X "$pattern" -- "$word") $(compgen -d -S / -- "$word"))
    [[ $command == inspect ]] && COMPREPLY+=($(compgen -f -X '!*.tar' -- "$word"))
    compopt -o nospace 2>/dev/null
}

complete -o filenames -F _hutch hutch
