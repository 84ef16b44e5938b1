package qemu

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
)

const (
	// commandPoll is how often a program in a guest is looked at: at first, and when it takes long.
	commandPoll, commandPollMax = 20 * time.Millisecond, time.Second
	// frozenRetry is how often an agent that takes no commands because its file systems are frozen is asked again.
	frozenRetry = 200 * time.Millisecond
	// endLimit bounds the attempt to end a program that nobody waits for any more.
	endLimit = 3 * time.Second
	// killedBySignal is added to a signal for an exit code, as a shell does.
	killedBySignal = 128
)

// Command runs a program in the guest by its agent. The agent serves one connection at a time, which is held for each
// question only: captures and other programs come in between. When ctx ends first the program is killed, its children
// may go on.
func (d *Driver) Command(ctx context.Context, name string, c site.Command) (site.CommandResult, error) {
	m, err := d.machine(name)
	if err != nil {
		return site.CommandResult{}, err
	}
	what := "command in " + name
	switch {
	case len(c.Argv) == 0 || c.Argv[0] == "":
		return site.CommandResult{}, dr.WithHint(fmt.Errorf("%s: no program", what), dr.KindInvalid, "name a program of the guest")
	case !m.running():
		return site.CommandResult{}, dr.WithHint(fmt.Errorf("%s: the machine is off", what), dr.KindUnavailable, "start the machine")
	}
	var res site.CommandResult
	pid, err := m.startProgram(ctx, c)
	if err == nil {
		if res, err = m.awaitProgram(ctx, pid); err != nil {
			m.endProgram(ctx, pid)
		}
	}
	if err != nil {
		err = fmt.Errorf("%s: %s: %w", what, c.Argv[0], err)
	}
	if ctx.Err() != nil && dr.Hint(err) == "" {
		err = dr.WithHint(err, dr.KindUnavailable, "give it more time, or see on the machine's console whether the guest hangs")
	}
	return res, err
}

// ask puts one question to the guest's agent. While the guest is frozen for a capture it waits.
func (m *machine) ask(ctx context.Context, command string, args, out any) error {
	for {
		err := m.askOnce(ctx, command, args, out)
		var refused *AgentError
		if !errors.As(err, &refused) || !strings.Contains(refused.Desc, "frozen") {
			return err
		}
		select {
		case <-ctx.Done():
			return dr.WithHint(fmt.Errorf("%w: the guest's file systems are frozen", context.Cause(ctx)), dr.KindUnavailable, "thaw the guest")
		case <-time.After(frozenRetry):
		}
	}
}

func (m *machine) askOnce(ctx context.Context, command string, args, out any) error {
	a, err := m.agent(ctx)
	if err != nil {
		if ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)) {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		return err
	}
	defer a.Close() //nolint:errcheck // nothing to lose
	return a.Run(ctx, command, args, out)
}

func (m *machine) startProgram(ctx context.Context, c site.Command) (pid int64, err error) {
	args := map[string]any{"path": c.Argv[0], "arg": c.Argv[1:], "capture-output": true}
	if len(c.Env) > 0 {
		args["env"] = environment(c.Env)
	}
	if len(c.Stdin) > 0 {
		args["input-data"] = base64.StdEncoding.EncodeToString(c.Stdin)
	}
	var started struct {
		PID int64 `json:"pid"`
	}
	err = m.ask(ctx, "guest-exec", args, &started)
	var refused *AgentError
	if errors.As(err, &refused) {
		err = dr.WithHint(refused, dr.KindInvalid, "name a program that the guest has, with its path, and see that the agent allows guest-exec")
	}
	return started.PID, err
}

// environment is that of a program: the agent gives it its own, or this one alone.
func environment(env []string) []string {
	if slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "PATH=") }) {
		return env
	}
	return append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, env...)
}

func (m *machine) awaitProgram(ctx context.Context, pid int64) (site.CommandResult, error) {
	for wait := commandPoll; ; wait = min(2*wait, commandPollMax) {
		var st struct {
			Exited   bool   `json:"exited"`
			ExitCode int    `json:"exitcode"`
			Signal   int    `json:"signal"`
			Out      []byte `json:"out-data"` // base64, as encoding/json has it
			Err      []byte `json:"err-data"`
			OutCut   bool   `json:"out-truncated"`
			ErrCut   bool   `json:"err-truncated"`
		}
		if err := m.ask(ctx, "guest-exec-status", map[string]any{"pid": pid}, &st); err != nil {
			return site.CommandResult{}, err
		}
		if st.Exited {
			res := site.CommandResult{ExitCode: st.ExitCode, Stdout: st.Out, Stderr: st.Err, Truncated: st.OutCut || st.ErrCut}
			if st.Signal != 0 {
				res.ExitCode = killedBySignal + st.Signal
			}
			return res, nil
		}
		select {
		case <-ctx.Done():
			return site.CommandResult{}, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// endProgram kills a program and has the agent forget it.
func (m *machine) endProgram(ctx context.Context, pid int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endLimit)
	defer cancel()
	for _, p := range []int64{0, pid} { // the program that kills it first
		if p == 0 {
			var err error
			if p, err = m.startProgram(ctx, site.Command{Argv: []string{"kill", "-KILL", strconv.FormatInt(pid, 10)}}); err != nil {
				m.d.log.Warn("a program in the guest goes on", "machine", m.name, "pid", pid, "error", err)
				return
			}
		}
		_, _ = m.awaitProgram(ctx, p)
	}
}

var _ site.Commander = (*Driver)(nil)
