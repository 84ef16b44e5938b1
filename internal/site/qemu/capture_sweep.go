package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"understudy/internal/dr"
	"understudy/internal/site/qemu/qmp"
)

// sweep takes down what a capture built in QEMU: it ends the exports, takes the filters out and removes the fleece
// stores. Of a capture that a dead controller left it also thaws and resumes the guest. Bitmaps are left alone. The
// caller holds the machine's lock.
func (m *machine) sweep(ctx context.Context, c *qmp.Client, left bool) error {
	b, err := os.ReadFile(m.journalPath())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var j journal
	if err := json.Unmarshal(b, &j); err != nil {
		return dr.WithHint(fmt.Errorf("%s: %w", m.journalPath(), err), dr.KindInternal, "restart the machine, then remove the file")
	}
	if left {
		if err := m.resume(ctx, c, j); err != nil {
			return err
		}
	}
	// Ends the exports and waits for them. A server that is not running is a refusal.
	var refused *qmp.Error
	if err := c.Run(ctx, "nbd-server-stop", nil, nil); err != nil && !errors.As(err, &refused) {
		return err
	}
	var nodes []blockNode
	if err := c.Run(ctx, "query-named-block-nodes", map[string]any{"flat": true}, &nodes); err != nil {
		return err
	}
	have := map[string]bool{}
	for _, n := range nodes {
		have[n.Node] = true
	}
	del := func(name string) error {
		if !have[name] {
			return nil
		}
		return c.Run(ctx, "blockdev-del", map[string]any{"node-name": name}, nil)
	}
	for i, d := range j.Disks {
		if err := del(node("snap", i)); err != nil {
			return err
		}
		if have[node("cbw", i)] {
			// QEMU 7.2 dies when a device is given the node that it has.
			var drive string
			if err := c.Run(ctx, "qom-get", map[string]any{"path": d.Path, "property": "drive"}, &drive); err != nil {
				return err
			}
			if drive == node("cbw", i) {
				if err := setDrive(ctx, c, d.Path, d.Node); err != nil {
					return err
				}
			}
		}
		if err := errors.Join(del(node("cbw", i)), del(node("fleece", i))); err != nil {
			return err
		}
	}
	return m.forgetCapture()
}

// resume makes a guest go on that stands still since a capture was left.
func (m *machine) resume(ctx context.Context, c *qmp.Client, j journal) error {
	var st runState
	if err := c.Run(ctx, "query-status", nil, &st); err != nil {
		return err
	}
	if st.Status == "paused" {
		if err := c.Run(ctx, "cont", nil, nil); err != nil {
			return err
		}
	}
	if j.Frozen {
		if err := m.thaw(ctx); err != nil {
			return fmt.Errorf("thaw file systems: %w", err)
		}
	}
	return nil
}

// forgetCapture removes the files of a capture that QEMU does not use any more.
func (m *machine) forgetCapture() error {
	entries, err := os.ReadDir(m.fleeceDir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	paths := []string{m.d.socket(m.name, "nbd")}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".qcow2") {
			paths = append(paths, filepath.Join(m.fleeceDir(), e.Name()))
		}
	}
	for _, path := range append(paths, m.journalPath()) {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
