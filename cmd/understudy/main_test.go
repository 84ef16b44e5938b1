package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"understudy/internal/cli"
	"understudy/test/need"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"understudy": func() { os.Exit(cli.Main("test")) },
	})
}

// TestScripts runs the journeys of a user in testdata. Each script has a home of its own.
func TestScripts(t *testing.T) {
	need.Tool(t, "qemu-img", "qemu-io", "nbdinfo")
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir+"/home")
			e.Setenv("NO_COLOR", "1")
			e.Setenv("UNDERSTUDY_DATA", "")
			return os.Mkdir(e.WorkDir+"/home", 0o700)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"code":    exitCode,
			"await":   waitFor,
			"receive": receive,
			"login":   logIn,
			"retry":   retry,
		},
	})
}
