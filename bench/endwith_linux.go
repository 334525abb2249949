package bench

import (
	"os/exec"
	"syscall"
)

// endWithParent has the kernel kill command when this process dies without having ended it.
func endWithParent(command *exec.Cmd) {
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
