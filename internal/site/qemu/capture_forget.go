package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/internal/site/qemu/qmp"
)

// Forget removes the bitmaps of a group, in QEMU or in the images of a stopped machine, and what is recorded of its
// captures. What a dead controller built in QEMU went when the machine was adopted.
func (d *Driver) Forget(ctx context.Context, group string, machines []string) error {
	var errs []error
	for _, name := range machines {
		m, err := d.machine(name)
		if dr.KindOf(err) == dr.KindNotFound {
			continue
		}
		if err == nil {
			err = m.forgetGroup(ctx, group)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("forget captures of %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func (m *machine) forgetGroup(ctx context.Context, group string) error {
	if m.d.captures.group(m.name) == group {
		return dr.WithHint(fmt.Errorf("a capture of group %s is under way", group), dr.KindConflict, "wait until it has ended")
	}
	unlock, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if m.running() {
		err = m.forgetRunning(ctx, group)
	} else if err = m.unopened(ctx, "forget captures of", everyone); err == nil {
		err = m.forgetStopped(ctx, group)
	}
	if err != nil {
		return err
	}
	if err := os.Remove(m.recordPath(group)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// group is the group of the capture of a machine that is under way, or empty.
func (k *captures) group(machine string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c := k.open[machine]; c != nil {
		return c.req.Group
	}
	return ""
}

func (m *machine) forgetRunning(ctx context.Context, group string) error {
	c, err := m.monitor(ctx)
	if err != nil {
		return err
	}
	var nodes []blockNode
	if err := c.RunAll(ctx, queryNodes(&nodes)); err != nil {
		return err
	}
	var actions []qmp.Action
	for _, n := range nodes {
		for _, b := range n.Bitmaps {
			if strings.HasPrefix(b.Name, bitmapPrefix(group)) && !b.Busy {
				actions = append(actions, qmp.Action{Type: "block-dirty-bitmap-remove", Data: map[string]any{"node": n.Node, "name": b.Name}})
			}
		}
	}
	return c.RunAll(ctx, transaction(actions)...)
}

func (m *machine) forgetStopped(ctx context.Context, group string) error {
	for _, k := range m.def().Disks {
		if k.Role != dr.RoleDisk || k.Format != "qcow2" {
			continue
		}
		var text []byte
		if err := m.d.image(ctx, func(b []byte) { text = append(text, b...) }, "info", "--output=json", "-f", "qcow2", k.Path); err != nil {
			return fmt.Errorf("disk %s: %w", k.Name, err)
		}
		var info struct {
			Specific struct {
				Data struct {
					Bitmaps []struct {
						Name string `json:"name"`
					} `json:"bitmaps"`
				} `json:"data"`
			} `json:"format-specific"`
		}
		if err := json.Unmarshal(text, &info); err != nil {
			return fmt.Errorf("disk %s: %w", k.Name, err)
		}
		for _, b := range info.Specific.Data.Bitmaps {
			if !strings.HasPrefix(b.Name, bitmapPrefix(group)) {
				continue
			}
			if err := m.d.image(ctx, nil, "bitmap", "--remove", "-f", "qcow2", k.Path, b.Name); err != nil {
				return fmt.Errorf("disk %s: %w", k.Name, err)
			}
		}
	}
	return nil
}

var _ site.Forgetter = (*Driver)(nil)
