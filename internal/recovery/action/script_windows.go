package action

import "os/exec"

// hold does nothing: the program is killed alone, and one that outlives this process is not seen.
func hold(*exec.Cmd, string) (release func(), err error) { return func() {}, nil }

func held(string) bool { return false }
