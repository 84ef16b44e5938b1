package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"understudy/internal/dr"
)

const (
	// startTimeout bounds the time from the start of QEMU to the greeting of its monitor. Opening a disk whose source
	// is slow to answer is part of it.
	startTimeout = 60 * time.Second
	// dyingLimit bounds the wait for the end of a process that does not answer any more.
	dyingLimit = 3 * time.Second
	// startTries bounds how often a start is repeated because a freely chosen port was taken in between.
	startTries = 4
	// keptConsoles is how many consoles of earlier boots are kept.
	keptConsoles = 3
	// consoleLimit is the size of a console, in bytes, beyond which consoleTail of it is kept as if of an earlier boot.
	consoleLimit = 16 << 20
	consoleTail  = 1 << 20
)

// start brings the machine up; the caller holds its lock.
func (m *machine) start(ctx context.Context) error {
	if err := m.checkHold(); err != nil {
		return err
	}
	s, err := m.readState()
	if err != nil {
		return err
	}
	if m.alive(s) {
		err := m.goOn(ctx)
		if err == nil || dr.KindOf(err) == dr.KindConflict {
			return err
		}
		// The monitor of a process that was killed is gone some moments before the process is.
		dying, cancel := context.WithTimeout(ctx, dyingLimit)
		defer cancel()
		if m.waitExit(dying, s) != nil {
			return err
		}
		if err := m.noteExit(s); err != nil {
			return err
		}
		if s, err = m.readState(); err != nil {
			return err
		}
	}
	if err := m.unopened(ctx, "start", everyone); err != nil {
		return err
	}
	if err := m.load(); err != nil { // a layer may have come or gone
		return err
	}
	def := m.definition()
	accel, err := m.d.accel(ctx)
	if err != nil {
		return fmt.Errorf("start %s: %w", m.name, err)
	}
	switches, conns, err := m.d.connectNetworks(ctx, def)
	if err != nil {
		return fmt.Errorf("start %s: %w", m.name, err)
	}
	defer closeAll(conns)
	for try := 1; ; try++ {
		forwards, err := m.d.chooseForwards(def, s)
		if err != nil {
			return fmt.Errorf("start %s: %w", m.name, err)
		}
		s.Generation++
		s.Forwards = forwards
		out, err := m.launch(ctx, s, launch{def: def, accel: accel, forwards: forwards, switches: switches})
		m.d.ports.release(forwards)
		if err == nil {
			return nil
		}
		if !forwardClash(out) || try == startTries {
			return fmt.Errorf("start %s: %w", m.name, err)
		}
	}
}

// goOn makes the guest of a running QEMU run.
func (m *machine) goOn(ctx context.Context) error {
	st, err := m.status(ctx)
	if err != nil || st.Running {
		return err
	}
	c, err := m.monitor(ctx)
	if err != nil {
		return err
	}
	if err := c.Run(ctx, "cont", nil, nil); err != nil {
		return dr.WithHint(fmt.Errorf("start %s: the guest is %s: %w", m.name, st.Status, err), dr.KindConflict, "kill the machine and start it again")
	}
	return nil
}

// launch runs QEMU until its monitor answers. On failure no process, socket or pidfile is left, and QEMU's own output
// is returned beside the error.
func (m *machine) launch(ctx context.Context, s state, l launch) (output string, err error) {
	l.pidfile, l.console, l.efivars = m.pidfile(), m.consolePath(), m.efivars()
	if err := os.MkdirAll(m.dir(), 0o700); err != nil {
		return "", err
	}
	monitor, err := m.listen("qmp")
	if err != nil {
		return "", err
	}
	defer monitor.Close() //nolint:errcheck // the child has its own
	agent, err := m.listen("agent")
	if err != nil {
		return "", err
	}
	defer agent.Close() //nolint:errcheck // the child has its own
	l.monitor, l.agent = 3, 4
	l.services, l.connect = m.d.cfg.Services, m.d.cfg.ConnectCommand
	args, err := l.arguments()
	if err != nil {
		return "", err
	}
	if err := rotate(l.console, keptConsoles); err != nil {
		return "", fmt.Errorf("console: %w", err)
	}
	logPath := filepath.Join(m.dir(), "qemu.log")
	log, err := os.Create(logPath)
	if err != nil {
		return "", err
	}
	defer log.Close() //nolint:errcheck // the child has its own
	_ = os.Remove(l.pidfile)

	cmd := exec.Command(m.d.cfg.Binary, args...)
	cmd.SysProcAttr = ownSession()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{monitor, agent}
	s.Starting, s.PID, s.StartTime, s.Started, s.Exit, s.Unclean = true, 0, "", time.Now(), "", false
	if err := m.writeState(s); err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		m.forget(s, "QEMU could not be run")
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
			return "", dr.WithHint(err, dr.KindUnavailable, "apt-get install qemu-system-x86 qemu-utils")
		}
		return "", err
	}
	exited := make(chan struct{})
	m.setExited(exited)
	m.d.burials.Go(func() { m.bury(cmd, exited) })

	s.Starting, s.PID, s.StartTime = false, cmd.Process.Pid, processStart(cmd.Process.Pid)
	err = m.writeState(s)
	if err == nil {
		err = m.greet(ctx, exited)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		<-exited
		m.forget(s, "QEMU did not start")
		b, _ := os.ReadFile(logPath)
		return string(b), startError(err, b)
	}
	m.d.log.Info("machine started", "machine", m.name, "pid", s.PID, "accel", l.accel)
	return "", nil
}

// startError says what QEMU said.
func startError(err error, output []byte) error {
	said := lastLines(string(output), 3)
	if said == "" {
		return dr.WithHint(fmt.Errorf("qemu: %w", err), dr.KindUnavailable, "see the machine's qemu.log")
	}
	kind, hint := dr.KindUnavailable, "mend the machine's definition or its disks"
	switch {
	case bytes.Contains(output, []byte("Failed to get")) && bytes.Contains(output, []byte("lock")):
		kind, hint = dr.KindConflict, "end the program that uses the disk"
	case forwardClash(string(output)):
		kind, hint = dr.KindConflict, "use hostPort: 0 to let the site choose"
	case bytes.Contains(output, []byte("nbd")), bytes.Contains(output, []byte("NBD")):
		hint = "see that the recovery point is served: understudy run show"
	}
	return dr.WithHint(fmt.Errorf("qemu: %s", said), kind, hint)
}

// greet waits until QEMU's monitor answers, which is when all its devices exist.
func (m *machine) greet(ctx context.Context, exited <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	go func() {
		select {
		case <-exited:
			end(errors.New("QEMU ended"))
		case <-ctx.Done():
		}
	}()
	// Through monitor, which lets nobody else dial meanwhile: QEMU serves one client, and a second one would wait for ever.
	for {
		_, err := m.monitor(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// listen makes a socket before QEMU runs, which inherits it: a client can connect at once and is served when QEMU is
// ready, without polling for a path to appear.
func (m *machine) listen(kind string) (*os.File, error) {
	path := m.d.socket(m.name, kind)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer l.Close() //nolint:errcheck // the file is a copy
	l.SetUnlinkOnClose(false)
	return l.File()
}

// bury waits for the process that this controller started and notes how it ended.
func (m *machine) bury(cmd *exec.Cmd, exited chan struct{}) {
	_ = cmd.Wait()
	close(exited)
	if m.d.closed.Load() {
		return
	}
	unlock, err := m.lock(context.Background())
	if err != nil {
		return
	}
	defer unlock()
	s, err := m.readState()
	if err != nil || s.PID != cmd.Process.Pid || m.d.closed.Load() {
		return // whoever ended it has noted that, or the next controller will
	}
	s.Exit, s.Unclean = "the guest shut down", false
	if !cmd.ProcessState.Success() {
		b, _ := os.ReadFile(filepath.Join(m.dir(), "qemu.log"))
		s.Exit, s.Unclean = fmt.Sprintf("QEMU ended: %s", cmd.ProcessState), true
		if said := lastLines(string(b), 2); said != "" {
			s.Exit += ": " + said
		}
	}
	m.d.log.Info("machine ended", "machine", m.name, "reason", s.Exit)
	m.forget(s, s.Exit)
}

// forget notes that the machine has no process any more and removes what belonged to it.
func (m *machine) forget(s state, exit string) {
	m.disconnect()
	for _, path := range []string{m.pidfile(), m.d.socket(m.name, "qmp"), m.d.socket(m.name, "agent")} {
		_ = os.Remove(path)
	}
	s.Starting, s.PID, s.StartTime, s.Exit = false, 0, "", exit
	if err := m.writeState(s); err != nil {
		m.d.log.Warn("state not written", "machine", m.name, "error", err)
	}
}

// rotate renames path to path.1, that to path.2 and so on, and drops the oldest.
func rotate(path string, keep int) error {
	if err := shift(path, keep); err != nil {
		return err
	}
	return renameIf(path, path+".1")
}

// shift makes room for a new path.1.
func shift(path string, keep int) error {
	for i := keep; i > 1; i-- {
		if err := renameIf(fmt.Sprintf("%s.%d", path, i-1), fmt.Sprintf("%s.%d", path, i)); err != nil {
			return err
		}
	}
	return nil
}

func renameIf(from, to string) error {
	if err := os.Rename(from, to); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (m *machine) consolePath() string { return filepath.Join(m.dir(), "console.log") }

// trimConsole bounds the console of a running machine. QEMU appends to the file, so it can be cut under its hands; what
// the guest says meanwhile may be lost.
func trimConsole(path string, limit, tail int64) error {
	st, err := os.Stat(path)
	if err != nil || st.Size() <= limit {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	kept, err := io.ReadAll(io.NewSectionReader(f, st.Size()-tail, tail))
	if err != nil {
		return err
	}
	// The file itself stays where it is, because QEMU holds it.
	if err := shift(path, keptConsoles); err != nil {
		return err
	}
	if err := os.WriteFile(path+".1", kept, 0o600); err != nil {
		return err
	}
	return os.Truncate(path, 0)
}
