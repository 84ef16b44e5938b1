package action

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"understudy/internal/dr"
)

// A Script is a program to run on this host.
type Script struct {
	Argv []string
	Text string // instead of Argv: run by its first line (#!), or by sh
	Env  []string
	Dir  string // working folder; Scratch when empty

	Stdin []byte // the context; also in the file that UNDERSTUDY_CONTEXT names
	// Scratch is an empty folder of the caller's for files of the script; the caller removes it.
	Scratch string
	Output  *Buffer // takes what it writes
}

// inherited are the variables that a script gets of the controller's environment. The others may be secrets.
var inherited = []string{"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SYSTEMROOT", "PATHEXT", "TEMP", "TMP"}

// killGrace is how long a script's own children may hold its output open after it has ended.
const killGrace = time.Second

// lockName is the file that a script and its children hold locked as long as they live.
const lockName = "lock"

// Run runs the script and waits for it. When ctx ends, it is killed with its children. An exit code other than 0 is an
// error of dr.KindInternal.
func (s Script) Run(ctx context.Context) error {
	contextFile := filepath.Join(s.Scratch, "context.json")
	if err := os.WriteFile(contextFile, s.Stdin, 0o600); err != nil {
		return unavailable(err)
	}
	argv := s.Argv
	if s.Text != "" {
		file := filepath.Join(s.Scratch, "script")
		// A program that starts meanwhile would inherit the open file for a moment, in which it cannot be run.
		syscall.ForkLock.RLock()
		err := os.WriteFile(file, []byte(s.Text), 0o700)
		syscall.ForkLock.RUnlock()
		if err != nil {
			return unavailable(err)
		}
		argv = []string{file}
		if !strings.HasPrefix(s.Text, "#!") {
			argv = []string{"sh", file}
		}
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = cmp.Or(s.Dir, s.Scratch), bytes.NewReader(s.Stdin), s.Output, s.Output
	for _, name := range inherited {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	cmd.Env = append(append(cmd.Env, s.Env...), "UNDERSTUDY_CONTEXT="+contextFile)
	release, err := hold(cmd, filepath.Join(s.Scratch, lockName))
	if err != nil {
		return unavailable(err)
	}
	cmd.WaitDelay = killGrace
	err = cmd.Start()
	release()
	if err != nil {
		return dr.WithHint(fmt.Errorf("start %s: %w", argv[0], err), dr.KindInvalid, "is the program there, at the controller, and executable?")
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil: // even when ctx ended just then: what was done is done
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, exec.ErrWaitDelay): // it ended well; something that it left behind holds its output open
		return nil
	case errors.As(err, &exit):
		return dr.WithHint(errors.New(exit.Error()), dr.KindInternal, "")
	}
	return err
}

func unavailable(err error) error {
	return dr.WithHint(fmt.Errorf("prepare the script: %w", err), dr.KindUnavailable, "is the disk of the controller's folder full?")
}

// Alive reports whether a script that an earlier controller began in a scratch folder still runs, or a child of it.
func Alive(scratch string) bool { return held(filepath.Join(scratch, lockName)) }
