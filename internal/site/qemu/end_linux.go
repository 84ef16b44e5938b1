package qemu

import (
	"os/exec"
	"syscall"
)

// endWithParent has a command killed when the controller dies: one that died in a trial would leave a guest that stands still.
func endWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
