package qemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// state is what the site remembers about the latest start of a machine. It is written durably before QEMU is started
// and again when its process is known.
type state struct {
	Generation uint64    `json:"generation"` // counts starts
	Starting   bool      `json:"starting,omitempty"`
	PID        int       `json:"pid,omitempty"` // 0: no process
	StartTime  string    `json:"startTime,omitempty"`
	Started    time.Time `json:"started,omitzero"`
	Forwards   []forward `json:"forwards,omitempty"`

	// Exit says how the last process ended, for people; Unclean that QEMU did not end by itself or on request, so that
	// what it keeps in memory until it closes (persistent bitmaps) is lost.
	Exit    string `json:"exit,omitempty"`
	Unclean bool   `json:"unclean,omitempty"`
}

// forward is a host port in use.
type forward struct {
	NIC       int `json:"nic"`
	HostPort  int `json:"hostPort"`
	GuestPort int `json:"guestPort"`
}

func (s state) hostPort(nic, guestPort int) (int, bool) {
	for _, f := range s.Forwards {
		if f.GuestPort == guestPort && (nic < 0 || f.NIC == nic) {
			return f.HostPort, true
		}
	}
	return 0, false
}

func (m *machine) readState() (state, error) {
	var s state
	b, err := os.ReadFile(filepath.Join(m.dir(), "state.json"))
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return s, fmt.Errorf("machine %s: state: %w", m.name, err)
	}
	return s, nil
}

func (m *machine) writeState(s state) error {
	if err := writeJSON(filepath.Join(m.dir(), "state.json"), s); err != nil {
		return fmt.Errorf("machine %s: state: %w", m.name, err)
	}
	return nil
}

func (m *machine) pidfile() string { return filepath.Join(m.dir(), "qemu.pid") }

// alive reports whether the process of s exists. A start that a controller did not see the end of is looked up among
// all processes.
func (m *machine) alive(s state) bool {
	if s.Starting && s.PID == 0 {
		pid, start := findProcess(m.pidfile())
		if pid == 0 {
			return false
		}
		s.PID, s.StartTime = pid, start
	}
	return s.PID != 0 && processAlive(s.PID, s.StartTime)
}

// noteExit records that the process of s is gone although nobody stopped it. The caller holds the lock.
func (m *machine) noteExit(s state) error {
	if s.PID == 0 && !s.Starting {
		return nil
	}
	s.Unclean = true
	m.forget(s, "QEMU ended unexpectedly")
	return nil
}

// writeJSON replaces a file durably: after a crash it is the old or the new one.
func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, append(b, '\n'))
}

func writeFile(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // renamed away on success
	if _, err := f.Write(b); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename or removal in the folder durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // nothing written
	_ = f.Sync()    // not every system can; the rename is ordered all the same
	return nil
}
