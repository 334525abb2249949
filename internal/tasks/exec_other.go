//go:build !unix

package tasks

import (
	"os"
	"os/exec"
)

// Where there are no process groups the program alone is ended.

func ownGroup(*exec.Cmd) {}

func terminateGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() }

func killGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() }

func signalName(*os.ProcessState) string { return "" }
