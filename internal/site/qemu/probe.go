package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"understudy/internal/dr"
)

const (
	// probeEvery is how often a machine is looked at until it satisfies its probe.
	probeEvery = 100 * time.Millisecond
	// tcpTry bounds one connection. A guest that comes up hears the first packet of the next one before QEMU's user
	// network repeats that of this one.
	tcpTry = time.Second
	// httpTry bounds one request to a server that accepts connections.
	httpTry = 5 * time.Second
)

// Probe waits until the machine satisfies the probe. It gives up at once when the machine does not run or the probe
// can never succeed; its error tells what was seen last.
func (d *Driver) Probe(ctx context.Context, name string, probe dr.Probe) error {
	m, err := d.machine(name)
	if err != nil {
		return err
	}
	if probe.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, probe.Timeout)
		defer cancel()
	}
	look, err := m.prober(probe)
	if err != nil {
		return fmt.Errorf("probe %s: %w", name, err)
	}
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	last := errors.New("not looked at yet")
	for {
		s, err := m.readState()
		if err != nil {
			return err
		}
		if !m.alive(s) {
			why := s.Exit
			if why == "" {
				why = "it was not started"
			}
			return dr.WithHint(fmt.Errorf("probe %s: the machine is off: %s", name, why), dr.KindUnavailable,
				"see its console: "+m.consolePath())
		}
		if err = look(ctx, s); err == nil {
			return nil
		}
		if ctx.Err() == nil || errors.Is(last, errNotYet) {
			last = err
		}
		select {
		case <-ctx.Done():
			return dr.WithHint(fmt.Errorf("probe %s: %w: %w", name, context.Cause(ctx), last), dr.KindUnavailable,
				"see its console: "+m.consolePath())
		case <-tick.C:
		}
	}
}

var errNotYet = errors.New("not yet")

// prober returns what looks once, given the state of the running machine.
func (m *machine) prober(p dr.Probe) (func(context.Context, state) error, error) {
	switch p.Kind {
	case dr.ProbeNone:
		return func(ctx context.Context, _ state) error {
			st, err := m.status(ctx)
			if err == nil && !st.Running {
				err = fmt.Errorf("the guest is %s", st.Status)
			}
			return err
		}, nil
	case dr.ProbeSerial:
		if p.Text == "" {
			return nil, dr.WithHint(errors.New("no text to wait for"), dr.KindInvalid, "give the probe a text")
		}
		c := &consoleReader{path: m.consolePath(), text: []byte(p.Text)}
		return c.look, nil
	case dr.ProbeAgent:
		if !m.def().Agent {
			return nil, dr.WithHint(errors.New("the machine has no guest agent"), dr.KindInvalid, "set agent: true, or choose another probe")
		}
		return func(ctx context.Context, _ state) error {
			a, err := m.agent(ctx)
			if err != nil {
				return err
			}
			defer a.Close() //nolint:errcheck // nothing to lose
			return a.Ping(ctx)
		}, nil
	case dr.ProbeTCP, dr.ProbeHTTP:
		if _, ok := declared(m.def(), p.Port); !ok {
			return nil, dr.WithHint(fmt.Errorf("no forward reaches guest port %d", p.Port), dr.KindInvalid,
				fmt.Sprintf("add to a NIC: forwards: [{guestPort: %d}]", p.Port))
		}
		if p.Kind == dr.ProbeHTTP {
			return func(ctx context.Context, s state) error { return m.lookHTTP(ctx, s, p) }, nil
		}
		return func(ctx context.Context, s state) error { return m.lookTCP(ctx, s, p.Port) }, nil
	}
	return nil, dr.WithHint(fmt.Errorf("unknown kind %q", p.Kind), dr.KindInvalid, "use serial, tcp, http or agent")
}

func declared(def dr.Machine, guestPort int) (nic int, ok bool) {
	for i, n := range def.NICs {
		for _, f := range n.Forwards {
			if f.GuestPort == guestPort {
				return i, true
			}
		}
	}
	return 0, false
}

// consoleReader looks for a text on the console of this boot, reading each byte once.
type consoleReader struct {
	path string
	text []byte
	off  int64
	tail []byte // end of what was read, which the text may begin in
}

func (c *consoleReader) look(_ context.Context, _ state) error {
	f, err := os.Open(c.path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	if st, err := f.Stat(); err == nil && st.Size() < c.off {
		c.off, c.tail = 0, nil // started anew
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := f.ReadAt(buf, c.off)
		c.off += int64(n)
		seen := append(c.tail, buf[:n]...)
		if bytes.Contains(seen, c.text) {
			return nil
		}
		c.tail = append([]byte(nil), seen[max(0, len(seen)-max(len(c.text), 400)):]...)
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: %q on the console, whose end is %q", errNotYet, c.text, lastLines(printable(c.tail), 2))
		}
		if err != nil {
			return err
		}
	}
}

// printable drops what a terminal would act upon.
func printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && (r < ' ' || r == 0x7f) {
			return -1
		}
		return r
	}, string(b))
}

func address(s state, guestPort int) (string, error) {
	port, ok := s.hostPort(-1, guestPort)
	if !ok {
		return "", fmt.Errorf("guest port %d is not forwarded since the latest start", guestPort)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), nil
}

// lookTCP reports whether the guest accepts connections. That the forward's host side does means nothing: QEMU accepts
// before it asks the guest, and hangs up when the guest refuses. So either the server speaks first, or QEMU tells that
// the guest has taken a connection.
func (m *machine) lookTCP(ctx context.Context, s state, guestPort int) error {
	addr, err := address(s, guestPort)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, tcpTry)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // nothing was sent
	c, err := m.monitor(ctx)
	if err != nil {
		return err
	}
	hostPort := conn.RemoteAddr().(*net.TCPAddr).Port
	for {
		_ = conn.SetReadDeadline(time.Now().Add(probeEvery / 2))
		if n, err := conn.Read(make([]byte, 1)); n > 0 {
			return nil
		} else if !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("%w: guest port %d refuses connections", errNotYet, guestPort)
		}
		var table string
		if err := c.Run(ctx, "human-monitor-command", map[string]any{"command-line": "info usernet"}, &table); err != nil {
			return fmt.Errorf("%w: guest port %d does not answer: %w", errNotYet, guestPort, err)
		}
		if established(table, hostPort, guestPort) {
			return nil
		}
	}
}

// established looks in QEMU's table of the user network for a connection through a forward that the guest has taken.
func established(table string, hostPort, guestPort int) bool {
	for line := range strings.Lines(table) {
		// TCP[ESTABLISHED]  14  127.0.0.1 17000  10.0.2.15  7000  0  0
		f := strings.Fields(line)
		if len(f) >= 6 && f[0] == "TCP[ESTABLISHED]" && f[3] == strconv.Itoa(hostPort) && f[5] == strconv.Itoa(guestPort) {
			return true
		}
	}
	return false
}

func (m *machine) lookHTTP(ctx context.Context, s state, p dr.Probe) error {
	if err := m.lookTCP(ctx, s, p.Port); err != nil {
		return err
	}
	addr, err := address(s, p.Port)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, httpTry)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/"+strings.TrimPrefix(p.Path, "/"), nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotYet, err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	if resp.StatusCode >= 400 {
		return fmt.Errorf("%w: %s answers %s", errNotYet, req.URL.Path, resp.Status)
	}
	return nil
}
