package lanswitch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"
)

const (
	// linger is how long a switch without ports waits for the next one. Machines that are started together find it.
	linger = 3 * time.Second
	// takeOver bounds the wait for an earlier switch on the socket that is neither gone nor answering.
	takeOver = 5 * time.Second
	// drain is how long a switch about to end looks for a connection that was made just before.
	drain = 50 * time.Millisecond
)

// Main runs a switch on a unix socket until ctx ends or it has had no port for some seconds. It writes "ready" and a
// line's end to standard output when the socket can be connected to. When another switch serves the socket, it says so
// too and returns at once.
func Main(ctx context.Context, socket string) error {
	unlock, err := own(ctx, socket)
	if err != nil {
		return fmt.Errorf("switch %s: %w", socket, err)
	}
	if unlock == nil {
		return ready()
	}
	defer unlock()
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("switch %s: %w", socket, err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return fmt.Errorf("switch: %w", err)
	}
	l.SetUnlinkOnClose(false)
	if err := ready(); err != nil {
		return err
	}
	s := &Switch{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	s.Logger.Info("switch started", "socket", socket)
	err = s.run(ctx, l, socket)
	s.Logger.Info("switch ended", "socket", socket, "error", err)
	return err
}

func ready() error {
	_, err := fmt.Println("ready")
	_ = os.Stdout.Close() // whoever waits for more has an end
	return err
}

// own takes the lock that goes with the socket, or returns no unlock when a switch that has it answers.
func own(ctx context.Context, socket string) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, takeOver)
	defer cancel()
	var d net.Dialer
	for {
		unlock, err := tryLock(socket + ".lock")
		if err != nil || unlock != nil {
			return unlock, err
		}
		if c, err := d.DialContext(ctx, "unix", socket); err == nil {
			_ = c.Close()
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.New("another switch has the socket and does not answer")
		case <-time.After(drain):
		}
	}
}

// run serves ports until there has been none for linger.
func (s *Switch) run(ctx context.Context, l *net.UnixListener, socket string) error {
	defer os.Remove(socket) //nolint:errcheck // a stale socket is removed by the next switch
	defer l.Close()         //nolint:errcheck // ends the accept loop
	go func() {
		for {
			c, err := l.Accept()
			if err == nil {
				go s.Serve(c)
			} else if !errors.Is(err, os.ErrDeadlineExceeded) {
				return
			}
		}
	}()
	for {
		n, changed := s.Ports()
		var idle <-chan time.Time
		if n == 0 {
			idle = time.After(linger)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			continue
		case <-idle:
		}
		// From here on nobody finds the socket: a new client starts a new switch, which waits for this one's lock.
		// Who connected just before has a port in a moment, and then the socket comes back.
		away := socket + ".old"
		if err := os.Rename(socket, away); err != nil {
			return fmt.Errorf("switch %s: %w", socket, err)
		}
		select {
		case <-changed:
			if err := os.Rename(away, socket); err != nil {
				return fmt.Errorf("switch %s: %w", socket, err)
			}
		case <-time.After(drain):
			return os.Remove(away)
		}
	}
}
