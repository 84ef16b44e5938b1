// Package qmp is a client of QEMU's machine protocol, the JSON monitor on a unix socket
// (https://www.qemu.org/docs/master/interop/qmp-spec.html).
//
// QEMU's monitor serves one connection at a time: a second one is accepted by the kernel but greeted only when the
// first has ended, so Dial needs a context with an end.
package qmp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"understudy/internal/dr"
)

const (
	// maxLine bounds one message from QEMU, in bytes. The largest are answers of query-named-block-nodes.
	maxLine = 16 << 20
	// writeTimeout bounds the sending of one command; a monitor that takes none for so long is taken for dead.
	writeTimeout = 30 * time.Second
)

// ErrLost says that the monitor connection has ended: QEMU exited, or Close was called.
// Whether a command that fails with it was carried out is unknown.
var ErrLost = dr.WithHint(errors.New("monitor connection lost"), dr.KindUnavailable,
	"QEMU may have ended: see understudy machine list, and start the machine again")

// Error is QEMU's refusal of a command.
type Error struct {
	Class string `json:"class"` // GenericError, CommandNotFound, DeviceNotFound, ...
	Desc  string `json:"desc"`
}

func (e *Error) Error() string { return e.Desc }

// Event is a notice from QEMU, such as STOP, SHUTDOWN or BLOCK_EXPORT_DELETED.
type Event struct {
	Name string
	Time time.Time // by the host's clock
	Data json.RawMessage
}

// Action is one part of a transaction.
type Action struct {
	Type string `json:"type"`
	Data any    `json:"data"`
}

// Client is a connection to a monitor. It is safe for concurrent use; commands are carried out in the order sent.
type Client struct {
	conn net.Conn
	done chan struct{} // closed when the connection has ended and err is set

	writing sync.Mutex // held while a command is sent, so that lines do not mix

	mu      sync.Mutex
	err     error // why the connection ended
	lastID  uint64
	pending map[uint64]chan message
	subs    map[*subscription]struct{}
}

type subscription struct {
	events chan Event
	names  []string
}

// Dial connects to the monitor at a unix socket and negotiates. ctx bounds the negotiation only.
func Dial(ctx context.Context, socket string) (*Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("connect to monitor: %w", err)
	}
	c := &Client{
		conn:    conn,
		done:    make(chan struct{}),
		pending: make(map[uint64]chan message),
		subs:    make(map[*subscription]struct{}),
		// A reply to a client that died may come after the greeting and must not be taken for one to this client.
		lastID: rand.Uint64N(1 << 48),
	}
	r := bufio.NewReaderSize(conn, 64<<10)
	if err := greet(ctx, conn, r); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("monitor %s: %w", socket, err)
	}
	go c.read(r)
	if err := c.Run(ctx, "qmp_capabilities", nil, nil); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("monitor %s: %w", socket, err)
	}
	return c, nil
}

// maxStale bounds how many lines of an earlier connection are skipped.
const maxStale = 4096

// greet waits for the greeting, which only a monitor without another client sends. Before it may come what QEMU had not
// yet sent to a client that died: the end of a line, replies and events. They are nobody's any more.
func greet(ctx context.Context, conn net.Conn, r *bufio.Reader) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	err := errors.New("no QMP monitor: it sends no greeting")
	for range maxStale {
		line, rerr := readLine(r)
		if rerr != nil {
			err = fmt.Errorf("no greeting: %w", rerr)
			break
		}
		if m, derr := decode(line); derr == nil && m.Greeting != nil {
			err = nil
			break
		}
	}
	if !stop() || ctx.Err() != nil {
		return dr.WithHint(fmt.Errorf("no greeting: %w", context.Cause(ctx)), dr.KindUnavailable,
			"QEMU's monitor serves one client at a time: end the other program that is connected to it")
	}
	return err
}

// A Command is one command of RunAll.
type Command struct {
	Name string
	Args any // encoded as its arguments; nil for none
	Out  any // its return value is decoded into it unless it is nil
	// MayFail says that QEMU may refuse it.
	MayFail bool
}

// Run carries out a command. args is encoded as its arguments (nil for none); its return value is decoded into out
// unless that is nil. A refusal is an *Error. When ctx ends first the command may still be carried out; its late reply
// is discarded.
func (c *Client) Run(ctx context.Context, command string, args, out any) error {
	return c.RunAll(ctx, Command{Name: command, Args: args, Out: out})
}

// RunAll sends commands without waiting in between. QEMU carries them out in their order, each whatever became of those
// before it; the first error is returned when all have ended.
func (c *Client) RunAll(ctx context.Context, commands ...Command) error {
	if len(commands) == 0 {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", commands[0].Name, context.Cause(ctx))
	}
	first, replies := c.expect(len(commands))
	defer c.forget(first, len(commands))
	if err := c.send(commands, first); err != nil {
		return fmt.Errorf("%s: %w", commands[0].Name, err)
	}
	var failed error
	for i, cmd := range commands {
		m, err := c.wait(ctx, replies[i])
		switch {
		case err != nil:
		case m.Error != nil && cmd.MayFail:
		case m.Error != nil:
			err = m.Error
		case cmd.Out != nil:
			err = json.Unmarshal(m.Return, cmd.Out)
		}
		if err != nil && failed == nil {
			failed = fmt.Errorf("%s: %w", cmd.Name, err)
		}
	}
	return failed
}

// expect makes room for replies to commands numbered from first.
func (c *Client) expect(n int) (first uint64, replies []chan message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first = c.lastID + 1
	for range n {
		c.lastID++
		reply := make(chan message, 1)
		c.pending[c.lastID] = reply
		replies = append(replies, reply)
	}
	return first, replies
}

func (c *Client) forget(first uint64, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range n {
		delete(c.pending, first+uint64(i))
	}
}

func (c *Client) wait(ctx context.Context, reply chan message) (message, error) {
	select {
	case m := <-reply:
		return m, nil
	case <-ctx.Done():
		return message{}, context.Cause(ctx)
	case <-c.done:
		// The reply may have come just before the end.
		select {
		case m := <-reply:
			return m, nil
		default:
			return message{}, c.Err()
		}
	}
}

func (c *Client) send(commands []Command, first uint64) error {
	var lines bytes.Buffer
	enc := json.NewEncoder(&lines) // ends each with a newline
	for i, cmd := range commands {
		err := enc.Encode(struct {
			Execute   string `json:"execute"`
			Arguments any    `json:"arguments,omitempty"`
			ID        uint64 `json:"id"`
		}{cmd.Name, cmd.Args, first + uint64(i)})
		if err != nil {
			return fmt.Errorf("encode arguments: %w", err)
		}
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.Err(); err != nil {
		return err
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := c.conn.Write(lines.Bytes()); err != nil {
		// Part of a line may be out: nothing sensible can follow it.
		c.fail(fmt.Errorf("%w: send: %w", ErrLost, err))
		return c.Err()
	}
	return nil
}

// Transaction carries out actions all or none, at one instant. No actions is no command.
func (c *Client) Transaction(ctx context.Context, actions ...Action) error {
	if len(actions) == 0 {
		return nil
	}
	return c.Run(ctx, "transaction", map[string]any{"actions": actions}, nil)
}

// Subscribe delivers events of the given names, or all, in order until cancel is called or the connection ends, which
// closes the channel. A subscriber that falls buf events behind loses the oldest: events are hints, state is asked for.
func (c *Client) Subscribe(buf int, names ...string) (events <-chan Event, cancel func()) {
	s := &subscription{events: make(chan Event, max(buf, 1)), names: names}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		close(s.events)
		return s.events, func() {}
	}
	c.subs[s] = struct{}{}
	return s.events, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if _, ok := c.subs[s]; ok {
			delete(c.subs, s)
			close(s.events)
		}
	}
}

// Done is closed when the connection has ended; Err says why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is why the connection ended (it wraps ErrLost), or nil while it lasts.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection and wakes every caller. It leaves QEMU running.
func (c *Client) Close() error {
	c.fail(fmt.Errorf("%w: closed", ErrLost))
	return nil
}

func (c *Client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	for s := range c.subs {
		close(s.events)
	}
	clear(c.subs)
	_ = c.conn.Close()
	close(c.done)
}

func (c *Client) read(r *bufio.Reader) {
	for {
		line, err := readLine(r)
		if err != nil {
			c.fail(fmt.Errorf("%w: %w", ErrLost, err))
			return
		}
		if len(line) == 0 {
			continue
		}
		m, err := decode(line)
		switch {
		case err != nil:
			c.fail(fmt.Errorf("%w: %w", ErrLost, err))
			return
		case m.Event != "":
			c.publish(m)
		case m.ID != nil:
			c.deliver(m)
		case m.Error != nil:
			// QEMU could not even read the command: whose it was is unknown.
			c.fail(fmt.Errorf("%w: protocol: %w", ErrLost, m.Error))
			return
		}
	}
}

// deliver hands a reply to its caller; one that has given up is no longer pending.
func (c *Client) deliver(m message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if reply, ok := c.pending[*m.ID]; ok {
		delete(c.pending, *m.ID)
		reply <- m
	}
}

func (c *Client) publish(m message) {
	e := Event{Name: m.Event, Time: m.Timestamp.time(), Data: m.Data}
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.subs {
		if len(s.names) > 0 && !slices.Contains(s.names, e.Name) {
			continue
		}
		for {
			select {
			case s.events <- e:
			default:
				select {
				case <-s.events:
				default:
				}
				continue
			}
			break
		}
	}
}

// message is any line that QEMU sends.
type message struct {
	Greeting  *json.RawMessage `json:"QMP"`
	Return    json.RawMessage  `json:"return"`
	Error     *Error           `json:"error"`
	ID        *uint64          `json:"id"`
	Event     string           `json:"event"`
	Data      json.RawMessage  `json:"data"`
	Timestamp timestamp        `json:"timestamp"`
}

// timestamp is -1, -1 when QEMU could not read its clock.
type timestamp struct {
	Seconds      int64 `json:"seconds"`
	Microseconds int64 `json:"microseconds"`
}

func (t timestamp) time() time.Time {
	if t.Seconds < 0 || t.Microseconds < 0 || t.Microseconds >= 1e6 {
		return time.Time{}
	}
	return time.Unix(t.Seconds, t.Microseconds*1000)
}

func decode(line []byte) (message, error) {
	var m message
	if err := json.Unmarshal(line, &m); err != nil {
		return message{}, fmt.Errorf("decode monitor message: %w", err)
	}
	if m.Greeting == nil && m.Return == nil && m.Error == nil && m.Event == "" {
		return message{}, errors.New("decode monitor message: neither greeting, reply nor event")
	}
	return m, nil
}

// readLine returns the next line without its end. The slice is the caller's.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > maxLine {
			return nil, fmt.Errorf("monitor message longer than %d bytes", maxLine)
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return bytes.TrimSpace(line), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}
