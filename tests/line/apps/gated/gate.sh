# gate.sh STAGE: when the file `gate` names the stage, tells the test that it is reached, and waits to be let through.
read -r port stages < gate
case " $stages " in *" $1 "*) ;; *) exit 0 ;; esac
exec 3<> "/dev/tcp/127.0.0.1/$port" || exit 1
echo "$1 $(cat version)" >&3
read -r _ <&3
