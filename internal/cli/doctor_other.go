//go:build !linux

package cli

import "runtime"

func checkKernel() finding { return ok("%s", runtime.GOOS) }

func checkClock() finding {
	return finding{Status: "skip", Message: "not examined on " + runtime.GOOS}
}

func checkSpace(dir string) finding {
	return finding{Status: "skip", Message: "not examined on " + runtime.GOOS + ": " + dir}
}
