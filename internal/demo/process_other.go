//go:build !linux

package demo

import (
	"errors"
	"syscall"
)

var errPlatform = errors.New("the demonstration runs on Linux")

func detached() *syscall.SysProcAttr { return nil }

func processesUnder(string) ([]int, error) { return nil, errPlatform }

func kill(int) error { return errPlatform }
