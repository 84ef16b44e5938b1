package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
)

const (
	// shutdownGrace bounds the wait for a guest when the caller sets no deadline.
	shutdownGrace = 2 * time.Minute
	// quitGrace bounds an orderly end of QEMU, which writes persistent bitmaps; after it comes SIGKILL.
	quitGrace = 5 * time.Second
	// killGrace bounds the wait for a killed process; the kernel may still be writing for it.
	killGrace = 20 * time.Second
	// exitPoll is how often a process that is no child of this controller is looked at.
	exitPoll = 20 * time.Millisecond
)

// Power brings a machine to a power state. A shutdown whose deadline passes ends QEMU in order and counts as done; one
// that is cancelled leaves the machine as it is.
func (d *Driver) Power(ctx context.Context, name string, action site.PowerAction) error {
	m, err := d.machine(name)
	if err != nil {
		return err
	}
	unlock, err := m.lockNow(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	switch action {
	case site.PowerStart:
		return m.start(ctx)
	case site.PowerShutdown:
		return m.shutdown(ctx)
	case site.PowerKill:
		return m.kill("killed")
	}
	return dr.WithHint(fmt.Errorf("machine %s: unknown power action %q", name, action), dr.KindInvalid, "use start, shutdown or kill")
}

func (m *machine) setExited(c <-chan struct{}) {
	m.mu.Lock()
	m.exited = c
	m.mu.Unlock()
}

// waitExit waits until the process of s is gone.
func (m *machine) waitExit(ctx context.Context, s state) error {
	m.mu.Lock()
	exited := m.exited
	m.mu.Unlock()
	tick := time.NewTicker(exitPoll)
	defer tick.Stop()
	for m.alive(s) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-exited:
			exited = nil // a zombie until it was waited for; an earlier process of this machine otherwise
		case <-tick.C:
		}
	}
	return nil
}

func (m *machine) shutdown(ctx context.Context) error {
	s, err := m.readState()
	if err != nil {
		return err
	}
	if !m.alive(s) {
		return m.noteExit(s)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, shutdownGrace)
		defer cancel()
	}
	ctx, yield := context.WithCancelCause(ctx)
	defer yield(nil)
	m.setYield(func() { yield(errors.New("another action on the machine came in between")) })
	defer m.setYield(nil)
	m.askGuest(ctx)
	err = m.waitExit(ctx, s)
	if err == nil {
		m.forget(s, "the guest shut down")
		return nil
	}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("shut down %s: %w", m.name, err)
	}
	m.d.log.Warn("guest did not shut down in time, ending it", "machine", m.name)
	return m.quit("ended: the guest did not shut down in time")
}

// askGuest asks in every way that a guest may understand. No answer is no error: time decides.
func (m *machine) askGuest(ctx context.Context) {
	if c, err := m.monitor(ctx); err == nil {
		_ = c.Run(ctx, "cont", nil, nil) // a paused guest cannot react
		_ = c.Run(ctx, "system_powerdown", nil, nil)
	}
	if !m.def().Agent {
		return
	}
	actx, cancel := context.WithTimeout(ctx, agentTimeout)
	defer cancel()
	a, err := m.agent(actx)
	if err != nil {
		return
	}
	defer a.Close() //nolint:errcheck // nothing to lose
	_ = a.Shutdown(actx)
}

// quit ends QEMU in order, so that its images are closed and persistent bitmaps written, and kills it when that fails.
func (m *machine) quit(exit string) error {
	s, err := m.readState()
	if err != nil {
		return err
	}
	if !m.alive(s) {
		return m.noteExit(s)
	}
	ctx, cancel := context.WithTimeout(context.Background(), quitGrace)
	defer cancel()
	if c, err := m.monitor(ctx); err == nil {
		_ = c.Run(ctx, "quit", nil, nil)
		if m.waitExit(ctx, s) == nil {
			m.forget(s, exit)
			return nil
		}
	}
	return m.kill(exit)
}

// kill ends QEMU at once.
func (m *machine) kill(exit string) error {
	s, err := m.readState()
	if err != nil {
		return err
	}
	if s.Starting && s.PID == 0 {
		s.PID, s.StartTime = findProcess(m.pidfile())
	}
	if s.PID == 0 || !m.alive(s) {
		return m.noteExit(s)
	}
	if err := killProcess(s.PID); err != nil {
		return fmt.Errorf("kill %s: %w", m.name, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), killGrace)
	defer cancel()
	if err := m.waitExit(ctx, s); err != nil {
		return dr.WithHint(fmt.Errorf("kill %s: process %d does not end: %w", m.name, s.PID, err), dr.KindUnavailable,
			"see whether the storage of its disks hangs")
	}
	s.Unclean = true
	m.forget(s, exit)
	return nil
}

// hold is the content of a fence.
type hold struct {
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
}

func (m *machine) holdPath() string { return filepath.Join(m.d.cfg.Dir, "held", m.name+".json") }

// checkHold refuses a held machine. A hold file that cannot be read holds too.
func (m *machine) checkHold() error {
	b, err := os.ReadFile(m.holdPath())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var h hold
	if err == nil {
		err = json.Unmarshal(b, &h)
	}
	if err != nil {
		h.Reason = "the hold file cannot be read: " + err.Error()
	}
	return dr.WithHint(fmt.Errorf("start %s: the machine is held: %s", m.name, h.Reason), dr.KindFenced,
		"its group runs elsewhere; commit or clean up there before releasing it")
}

// Fence makes a machine unable to start until it is released. The hold is durable before the machine is ended, so that
// nothing can start it in between.
func (d *Driver) Fence(ctx context.Context, name string, held bool, reason string) error {
	m, err := d.machine(name)
	if err != nil {
		return err
	}
	unlock, err := m.lockNow(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if !held {
		if err := os.Remove(m.holdPath()); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("release %s: %w", name, err)
		}
		return syncDir(filepath.Dir(m.holdPath()))
	}
	if err := writeJSON(m.holdPath(), hold{Reason: reason, Since: time.Now()}); err != nil {
		return fmt.Errorf("hold %s: %w", name, err)
	}
	return m.quit("held: " + reason)
}
