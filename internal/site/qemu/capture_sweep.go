package qemu

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"understudy/internal/site/qemu/qmp"
)

// sweep takes down what a capture built in QEMU: it ends the exports, takes the filters out and removes the fleece
// stores. Of a capture that a dead controller left it also resumes the guest. decide, unless nil, says what is
// then to be done with the bitmaps, which are left alone otherwise. The caller holds the machine's lock.
func (m *machine) sweep(ctx context.Context, c *qmp.Client, left bool, decide func([]blockNode) []qmp.Action) error {
	j, err := m.readJournal()
	if err != nil || j == nil && decide == nil {
		return err
	}
	var nodes []blockNode
	query := []qmp.Command{queryNodes(&nodes)}
	var drives []string
	if j != nil {
		if left {
			if err := m.resume(ctx, c, *j); err != nil {
				return err
			}
		}
		drives = make([]string, len(j.Disks))
		// Ends the exports and waits for them. A server that is not running is a refusal.
		query = append([]qmp.Command{{Name: "nbd-server-stop", MayFail: true}}, query...)
		for i, d := range j.Disks {
			query = append(query, qmp.Command{
				Name: "qom-get", Args: map[string]any{"path": d.Path, "property": "drive"}, Out: &drives[i], MayFail: true,
			})
		}
	}
	if err := c.RunAll(ctx, query...); err != nil {
		return err
	}
	have := map[string]bool{}
	for _, n := range nodes {
		have[n.Node] = true
	}
	var commands []qmp.Command
	del := func(name string) {
		if have[name] {
			commands = append(commands, qmp.Command{Name: "blockdev-del", Args: map[string]any{"node-name": name}})
		}
	}
	for i := range drives {
		del(node("snap", i))
		// QEMU 7.2 dies when a device is given the node that it has.
		if have[node("cbw", i)] && drives[i] == node("cbw", i) {
			commands = append(commands, setDrive(j.Disks[i].Path, j.Disks[i].Node))
		}
		del(node("cbw", i))
	}
	if decide != nil {
		commands = append(commands, transaction(decide(nodes))...)
	}
	if err := c.RunAll(ctx, commands...); err != nil {
		return err
	}
	return m.forgetCapture()
}

// resume makes a guest go on that a capture stopped. One that a person paused stays so.
func (m *machine) resume(ctx context.Context, c *qmp.Client, j journal) error {
	if !j.Stopped {
		return nil
	}
	m.d.log.Warn("a controller ended while it captured, the guest goes on", "machine", m.name, "group", j.Group)
	var st runState
	if err := c.Run(ctx, "query-status", nil, &st); err != nil {
		return err
	}
	if st.Status == "paused" {
		if err := c.Run(ctx, "cont", nil, nil); err != nil {
			return err
		}
	}
	// What was done is noted, so that nobody undoes what a person does to the guest from here on.
	j.Stopped = false
	return m.writeJournal(j)
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
