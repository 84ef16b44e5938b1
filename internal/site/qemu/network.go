package qemu

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"understudy/internal/dr"
)

// Networks without forwards are switches, one process each, that end by themselves when their last machine has gone.
// A network is named within its site; an isolated copy of it is a switch of its own.

// switchTimeout bounds the start of a switch.
const switchTimeout = 10 * time.Second

// connectNetworks makes sure that the switches of a machine run. The connections it returns keep them running until the
// machine has connected by itself.
func (d *Driver) connectNetworks(ctx context.Context, def *definition) (sockets map[string]string, held []net.Conn, err error) {
	sockets = map[string]string{}
	defer func() {
		if err != nil {
			closeAll(held)
		}
	}()
	for _, n := range def.NICs {
		if len(n.Forwards) > 0 || sockets[n.Network] != "" {
			continue
		}
		path := filepath.Join(d.cfg.SocketDir, digest("network", n.Network, def.Isolation)+".lan")
		c, err := d.connectSwitch(ctx, path, n.Network)
		if err != nil {
			return nil, nil, fmt.Errorf("network %s: %w", n.Network, err)
		}
		held = append(held, c)
		sockets[n.Network] = path
	}
	return sockets, held, nil
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		_ = c.Close()
	}
}

func (d *Driver) connectSwitch(ctx context.Context, path, network string) (net.Conn, error) {
	var dialer net.Dialer
	if c, err := dialer.DialContext(ctx, "unix", path); err == nil {
		return c, nil
	}
	if len(d.cfg.SwitchCommand) == 0 {
		return nil, dr.WithHint(errors.New("the site has no switch command"), dr.KindInvalid, "give the NIC a forward, or set the site's switch command")
	}
	if err := d.startSwitch(ctx, path, network); err != nil {
		return nil, err
	}
	return dialer.DialContext(ctx, "unix", path)
}

// startSwitch runs the switch command and waits until it says that it listens. When two controllers' starts meet, the
// socket's lock lets one switch win, and the other says the same and ends.
func (d *Driver) startSwitch(ctx context.Context, path, network string) error {
	log, err := os.OpenFile(filepath.Join(d.cfg.Dir, "run", "lan-"+network+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the child has its own
	ready, ready2, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close() //nolint:errcheck // read to its end
	argv := append(append([]string{}, d.cfg.SwitchCommand...), path)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = ownSession()
	cmd.Stdout, cmd.Stderr = ready2, log
	err = cmd.Start()
	_ = ready2.Close()
	if err != nil {
		return fmt.Errorf("start switch: %w", err)
	}
	go cmd.Wait() //nolint:errcheck // only buries it; it ends by itself
	_ = ready.SetReadDeadline(time.Now().Add(switchTimeout))
	stop := context.AfterFunc(ctx, func() { _ = ready.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := bufio.NewReader(ready).ReadString('\n'); err != nil {
		if !errors.Is(err, io.EOF) {
			_ = cmd.Process.Kill()
		}
		return fmt.Errorf("the switch did not start (see %s): %w", log.Name(), err)
	}
	return nil
}

// ports hands out host ports. Those it has handed out are not handed out again to a start under way beside it.
type ports struct {
	mu   sync.Mutex
	busy map[int]bool
}

var errPortBusy = errors.New("port in use")

// choose returns a free port of the loopback address, which is want when that is not 0.
func (p *ports) choose(want int) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", want))
		if err != nil {
			return 0, fmt.Errorf("%w: %w", errPortBusy, err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		_ = l.Close()
		if !p.busy[port] {
			if p.busy == nil {
				p.busy = map[int]bool{}
			}
			p.busy[port] = true
			return port, nil
		}
		if want != 0 {
			break
		}
	}
	return 0, errPortBusy
}

func (p *ports) release(fs []forward) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range fs {
		delete(p.busy, f.HostPort)
	}
}

// chooseForwards finds host ports for a machine, if possible those that it had last.
func (d *Driver) chooseForwards(def *definition, last state) ([]forward, error) {
	var out []forward
	for i, n := range def.NICs {
		for _, f := range n.Forwards {
			port, err := 0, error(nil)
			if f.HostPort != 0 {
				port, err = d.ports.choose(f.HostPort)
			} else if p, ok := last.hostPort(i, f.GuestPort); ok {
				port, _ = d.ports.choose(p)
			}
			if err == nil && port == 0 {
				port, err = d.ports.choose(0)
			}
			if err != nil {
				d.ports.release(out)
				return nil, dr.WithHint(fmt.Errorf("host port %d for guest port %d: %w", f.HostPort, f.GuestPort, err), dr.KindConflict,
					"end the program on that port, or use hostPort: 0 to let the site choose")
			}
			out = append(out, forward{NIC: i, HostPort: port, GuestPort: f.GuestPort})
		}
	}
	return out, nil
}

// forwardClash reports whether QEMU did not start because somebody took a port after it was chosen.
func forwardClash(output string) bool {
	return strings.Contains(output, "Could not set up host forwarding rule")
}
