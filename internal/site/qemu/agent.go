package qemu

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"understudy/internal/dr"
)

// The guest agent speaks JSON over a virtio-serial channel (https://www.qemu.org/docs/master/interop/qemu-ga-ref.html).
// The channel has no connections of its own: what an earlier client left unread, or a restarted agent forgot, is
// separated from the present by guest-sync-delimited.

const (
	// agentTimeout bounds a quick command of an agent that may not run.
	agentTimeout = 5 * time.Second
	// agentRetry is how often an agent that does not answer is asked again: bytes sent before it opened its end of the
	// channel are lost.
	agentRetry = 500 * time.Millisecond
	// maxAgentLine bounds an answer, in bytes: guest-exec-status returns all output of a program, which the agent cuts at
	// 16 MiB each, as base64 in one.
	maxAgentLine = 48 << 20
)

// Agent is a connection to the guest agent of a machine. QEMU serves one at a time. It is not safe for concurrent use.
type Agent struct {
	machine string
	conn    net.Conn
	r       *bufio.Reader
}

// AgentError is the agent's refusal of a command.
type AgentError struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

func (e *AgentError) Error() string { return e.Desc }

// agent connects to the machine's guest agent and waits until it answers or ctx ends.
func (m *machine) agent(ctx context.Context) (*Agent, error) {
	if !m.def().Agent {
		return nil, dr.WithHint(fmt.Errorf("machine %s: no guest agent", m.name), dr.KindInvalid, "install qemu-guest-agent in the guest and set agent: true")
	}
	return dialAgent(ctx, m.d.socket(m.name, "agent"), m.name)
}

func dialAgent(ctx context.Context, socket, machine string) (*Agent, error) {
	for {
		a, err := connectAgent(ctx, socket, machine)
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return a, err
		}
	}
}

// connectAgent connects and waits for the agent for some seconds. A connection that was made in the very moment in which
// the guest learnt that the one before it broke may never carry anything: then the next one does.
func connectAgent(ctx context.Context, socket, machine string) (*Agent, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, dr.WithHint(fmt.Errorf("machine %s: guest agent: %w", machine, err), dr.KindUnavailable, "start the machine")
	}
	a := &Agent{machine: machine, conn: conn, r: bufio.NewReaderSize(conn, 64<<10)}
	// The answer to an earlier question does not count: a slow agent is given more time with each.
	for wait := agentRetry; ; wait *= 2 {
		sync, cancel := context.WithTimeout(ctx, wait)
		err := a.sync(sync)
		cancel()
		if err == nil {
			return a, nil
		}
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) || wait > 4*agentRetry {
			_ = conn.Close()
			return nil, dr.WithHint(fmt.Errorf("machine %s: guest agent does not answer: %w", machine, err), dr.KindUnavailable,
				"see that qemu-guest-agent runs in the guest")
		}
	}
}

// Close gives up the connection. It does not thaw the guest.
func (a *Agent) Close() error { return a.conn.Close() }

// sync empties the channel up to the answer to a fresh token. 0xff ends whatever half a command the agent has read;
// the agent sends one before its answer.
func (a *Agent) sync(ctx context.Context) error {
	var b [8]byte
	_, _ = rand.Read(b[:])
	token := int64(binary.BigEndian.Uint64(b[:]) >> 12) // JSON numbers are exact up to 53 bits
	return a.exchange(ctx, func() error {
		if err := a.send("guest-sync-delimited", map[string]any{"id": token}, true); err != nil {
			return err
		}
		for {
			if err := a.skipTo(0xff); err != nil {
				return err
			}
			var got int64
			if err := a.receive(&got); err == nil && got == token {
				return nil
			} else if ne := net.Error(nil); errors.As(err, &ne) || errors.Is(err, io.EOF) {
				return err
			}
		}
	})
}

// exchange runs f with the connection's deadlines tied to ctx.
func (a *Agent) exchange(ctx context.Context, f func() error) error {
	_ = a.conn.SetDeadline(time.Time{})
	stop := context.AfterFunc(ctx, func() { _ = a.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	err := f()
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (a *Agent) send(command string, args any, reset bool) error {
	b, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
	}{command, args})
	if err != nil {
		return err
	}
	if reset {
		b = append([]byte{0xff}, b...)
	}
	_, err = a.conn.Write(append(b, '\n'))
	return err
}

func (a *Agent) skipTo(c byte) error {
	for {
		b, err := a.r.ReadByte()
		if err != nil || b == c {
			return err
		}
	}
}

func (a *Agent) receive(out any) error {
	var line []byte
	for {
		part, err := a.r.ReadSlice('\n')
		line = append(line, part...)
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		if len(line) > maxAgentLine {
			return fmt.Errorf("an answer of more than %d bytes", maxAgentLine)
		}
	}
	var reply struct {
		Return json.RawMessage `json:"return"`
		Error  *AgentError     `json:"error"`
	}
	if err := json.Unmarshal(line, &reply); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	if reply.Error != nil {
		return reply.Error
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(reply.Return, out)
}

// Run carries out a command and decodes its return value into out unless that is nil. A refusal is an *AgentError.
// After any other error the connection is of no more use.
func (a *Agent) Run(ctx context.Context, command string, args, out any) error {
	err := a.exchange(ctx, func() error {
		if err := a.send(command, args, false); err != nil {
			return err
		}
		return a.receive(out)
	})
	if err != nil {
		return fmt.Errorf("machine %s: guest agent: %s: %w", a.machine, command, err)
	}
	return nil
}

// Ping asks for a sign of life.
func (a *Agent) Ping(ctx context.Context) error { return a.Run(ctx, "guest-ping", nil, nil) }

// Freeze makes the guest's file systems consistent and stops writes to them; it returns how many were frozen. The guest
// stays frozen when the connection or the controller ends.
func (a *Agent) Freeze(ctx context.Context) (int, error) {
	var n int
	err := a.Run(ctx, "guest-fsfreeze-freeze", nil, &n)
	return n, err
}

// Thaw lets the guest's file systems go on. Thawing what is not frozen is no error.
func (a *Agent) Thaw(ctx context.Context) error {
	return a.Run(ctx, "guest-fsfreeze-thaw", nil, nil)
}

// Frozen reports whether file systems of the guest are frozen.
func (a *Agent) Frozen(ctx context.Context) (bool, error) {
	var status string
	err := a.Run(ctx, "guest-fsfreeze-status", nil, &status)
	return status == "frozen", err
}

// Shutdown asks the guest to power itself off. The agent sends no answer when it obeys.
func (a *Agent) Shutdown(_ context.Context) error {
	return a.send("guest-shutdown", map[string]any{"mode": "powerdown"}, false)
}

// ExecResult is the outcome of a command in the guest.
type ExecResult struct {
	ExitCode int
	Signal   int // that ended it, or 0
	Stdout   []byte
	Stderr   []byte
}

// Exec runs a program in the guest and waits for its end. The program goes on when ctx ends first.
func (a *Agent) Exec(ctx context.Context, argv []string, stdin []byte) (ExecResult, error) {
	if len(argv) == 0 {
		return ExecResult{}, dr.WithHint(errors.New("no command"), dr.KindInvalid, "name a program of the guest")
	}
	req := map[string]any{"path": argv[0], "arg": argv[1:], "capture-output": true}
	if len(stdin) > 0 {
		req["input-data"] = base64.StdEncoding.EncodeToString(stdin)
	}
	var started struct {
		PID int64 `json:"pid"`
	}
	if err := a.Run(ctx, "guest-exec", req, &started); err != nil {
		return ExecResult{}, err
	}
	wait := 20 * time.Millisecond
	for {
		var st struct {
			Exited   bool   `json:"exited"`
			ExitCode int    `json:"exitcode"`
			Signal   int    `json:"signal"`
			Out      []byte `json:"out-data"` // base64, as encoding/json has it
			Err      []byte `json:"err-data"`
		}
		if err := a.Run(ctx, "guest-exec-status", map[string]any{"pid": started.PID}, &st); err != nil {
			return ExecResult{}, err
		}
		if st.Exited {
			return ExecResult{ExitCode: st.ExitCode, Signal: st.Signal, Stdout: st.Out, Stderr: st.Err}, nil
		}
		select {
		case <-ctx.Done():
			return ExecResult{}, fmt.Errorf("machine %s: %s in the guest: %w", a.machine, strings.Join(argv, " "), context.Cause(ctx))
		case <-time.After(wait):
		}
		wait = min(2*wait, time.Second)
	}
}
