package qemu

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/nbd"
	"understudy/internal/site/qemu/qmp"
)

// The block graph of a disk while it is captured; the nodes named us- and the NBD server are the capture's:
//
//	virtio-blk ── us-cbw-N ──file── active node (with the bitmaps)
//	                 │ └────target── us-fleece-N (qcow2, bounded)
//	NBD export ── us-snap-N (snapshot-access)
//
// Before a write reaches the active node, us-cbw-N copies what it overwrites to us-fleece-N; us-snap-N shows the disk
// as it was when us-cbw-N was inserted. When the copy fails or takes too long, the snapshot breaks and reading it fails,
// but the guest's write goes on.
//
// Removing a filter needs no pause, and QEMU dying takes all of this with it.

// fleeceTimeout bounds how long a guest's write waits for the fleece store.
const fleeceTimeout = 5 * time.Second

// journal remembers in a file what a capture changes in QEMU, for the case that this controller does not live to undo it.
type journal struct {
	Group   string        `json:"group"`
	ID      string        `json:"id"`
	Stopped bool          `json:"stopped,omitempty"` // the guest stands still for the capture
	Disks   []journalDisk `json:"disks"`
}

type journalDisk struct {
	Path string `json:"path"` // of the block device in QEMU's object tree
	Node string `json:"node"` // its active node
}

func (m *machine) journalPath() string { return filepath.Join(m.dir(), "capture.json") }

// readJournal returns nil when no capture left one.
func (m *machine) readJournal() (*journal, error) {
	b, err := os.ReadFile(m.journalPath())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var j journal
	if err := json.Unmarshal(b, &j); err != nil {
		return nil, dr.WithHint(fmt.Errorf("%s: %w", m.journalPath(), err), dr.KindInternal, "restart the machine, then remove the file")
	}
	return &j, nil
}

func (m *machine) writeJournal(j journal) error {
	b, err := json.Marshal(j)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(m.dir(), 0o700); err != nil {
		return err
	}
	// It is needed as long as QEMU lives, so it need not survive a crash of the host.
	path := m.journalPath()
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// fleeceDir is a folder of its own, so that it can be another file system.
func (m *machine) fleeceDir() string { return filepath.Join(m.dir(), "fleece") }

func (m *machine) fleecePath(i int) string {
	return filepath.Join(m.fleeceDir(), strconv.Itoa(i)+".qcow2")
}

func node(kind string, i int) string { return "us-" + kind + "-" + strconv.Itoa(i) }

// blockDevice is an element of query-block.
type blockDevice struct {
	Path     string    `json:"qdev"`
	Inserted blockNode `json:"inserted"`
}

// blockNode is QEMU's BlockDeviceInfo.
type blockNode struct {
	Node    string   `json:"node-name"`
	Bitmaps []bitmap `json:"dirty-bitmaps"`
	Image   struct {
		Filename string `json:"filename"`
		Format   string `json:"format"`
		Size     int64  `json:"virtual-size"`
		Specific struct {
			Data struct {
				Compat string `json:"compat"`
			} `json:"data"`
		} `json:"format-specific"`
	} `json:"image"`
}

// persistent reports whether the node's image can keep bitmaps.
func (n blockNode) persistent() bool {
	return n.Image.Format == "qcow2" && n.Image.Specific.Data.Compat != "0.10"
}

// bitmapsOf are the named, usable bitmaps of a node.
func bitmapsOf(nodes []blockNode, name string) map[string]bitmap {
	found := map[string]bitmap{}
	for _, n := range nodes {
		if n.Node != name {
			continue
		}
		for _, b := range n.Bitmaps {
			if b.Name != "" && !b.Inconsistent {
				found[b.Name] = b
			}
		}
	}
	return found
}

func queryNodes(out *[]blockNode) qmp.Command {
	return qmp.Command{Name: "query-named-block-nodes", Args: map[string]any{"flat": true}, Out: out}
}

func setDrive(path, node string) qmp.Command {
	return qmp.Command{Name: "qom-set", Args: map[string]any{"path": path, "property": "drive", "value": node}}
}

// transaction is the command that carries out actions at one instant, or none.
func transaction(actions []qmp.Action) []qmp.Command {
	if len(actions) == 0 {
		return nil
	}
	return []qmp.Command{{Name: "transaction", Args: map[string]any{"actions": actions}}}
}

func (l *live) bitmapAction(i int, verb, name string, more map[string]any) qmp.Action {
	data := map[string]any{"node": l.journal.Disks[i].Node, "name": name}
	if verb == "merge" {
		data = map[string]any{"node": l.journal.Disks[i].Node, "target": name}
	}
	for k, v := range more {
		data[k] = v
	}
	return qmp.Action{Type: "block-dirty-bitmap-" + verb, Data: data}
}

// build prepares the filters and their fleece stores, which have no effect before the filters are inserted.
func (l *live) build(ctx context.Context) error {
	if err := l.addFilters(ctx); err != nil {
		return fmt.Errorf("machine %s: %w", l.m.name, err)
	}
	return nil
}

func (l *live) addFilters(ctx context.Context) error {
	l.built = true
	if err := l.remember(); err != nil {
		return err
	}
	if err := l.m.writeJournal(l.journal); err != nil {
		return err
	}
	if err := os.MkdirAll(l.m.fleeceDir(), 0o700); err != nil {
		return err
	}
	// Adoption has resumed a guest that a dead controller left paused; sweep has too. One that stands still now was
	// stopped by a person or by QEMU, and stays so.
	var st runState
	commands := []qmp.Command{{Name: "query-status", Out: &st}}
	var broken []qmp.Action
	for i, ld := range l.disks {
		for _, name := range ld.track.broken {
			broken = append(broken, l.bitmapAction(i, "remove", name, nil))
		}
	}
	commands = append(commands, transaction(broken)...)
	timeout := max(cmp.Or(l.m.d.cfg.FleeceTimeout, fleeceTimeout), time.Second)
	for i, ld := range l.disks {
		// Stopping a guest flushes its disks: what is flushed now does not prolong the pause.
		flushFile(ld.active.Image.Filename)
		path := l.m.fleecePath(i)
		limit := l.m.d.fleeceLimit(l.m.fleeceDir(), ld.disk.Size, len(l.disks))
		if err := createFleece(path, ld.disk.Size, limit); err != nil {
			return fmt.Errorf("disk %s: %w", ld.disk.Name, err)
		}
		// The fleece store belongs to the filter and goes with it.
		commands = append(commands, qmp.Command{Name: "blockdev-add", Args: map[string]any{
			"driver": "copy-before-write", "node-name": node("cbw", i), "file": ld.active.Node,
			"on-cbw-error": "break-snapshot", "cbw-timeout": int64(timeout / time.Second),
			"target": map[string]any{
				"driver": "qcow2", "node-name": node("fleece", i), "discard": "unmap",
				"cache": map[string]any{"direct": false, "no-flush": true},
				"file": map[string]any{
					"driver": "raw", "size": limit,
					"file": map[string]any{"driver": "file", "filename": path, "discard": "unmap"},
				},
			},
		}})
	}
	if err := l.client.RunAll(ctx, commands...); err != nil {
		return err
	}
	l.goesOn = st.Running
	return nil
}

func flushFile(path string) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	_ = f.Sync() // only saves time
	_ = f.Close()
}

// open exports the views, where there is anything to read.
func (l *live) open(ctx context.Context) error {
	var err error
	switch {
	case !l.built:
		err = l.remember()
	case len(l.disks) > 0:
		err = l.export(ctx)
	}
	if err != nil {
		return fmt.Errorf("machine %s: %w", l.m.name, err)
	}
	return nil
}

func (l *live) export(ctx context.Context) error {
	socket := l.m.d.socket(l.m.name, "nbd")
	_ = os.Remove(socket)
	var nodes []blockNode
	commands := []qmp.Command{{Name: "nbd-server-start", Args: map[string]any{
		"addr": map[string]any{"type": "unix", "data": map[string]any{"path": socket}}, "max-connections": 0,
	}}, queryNodes(&nodes)}
	for i, ld := range l.disks {
		args := map[string]any{"type": "nbd", "id": node("export", i), "node-name": node("snap", i), "name": ld.disk.Name}
		if ld.track.since != "" {
			args["bitmaps"] = []any{map[string]any{"node": ld.active.Node, "name": ld.track.since}}
		}
		commands = append(commands, qmp.Command{Name: "blockdev-add", Args: map[string]any{
			"driver": "snapshot-access", "node-name": node("snap", i), "file": node("cbw", i),
		}}, qmp.Command{Name: "block-export-add", Args: args})
	}
	if err := l.client.RunAll(ctx, commands...); err != nil {
		return err
	}
	errs := make([]error, len(l.disks))
	var wg sync.WaitGroup
	for i, ld := range l.disks {
		metas := []string{nbd.MetaAllocation}
		if since := ld.track.since; since != "" {
			b, ok := bitmapsOf(nodes, ld.active.Node)[since]
			if !ok {
				errs[i] = fmt.Errorf("disk %s: bitmap %s is gone", ld.disk.Name, since)
				continue
			}
			ld.dirty = b.Count
			metas = append(metas, nbd.MetaDirtyBitmap(since))
		}
		wg.Go(func() {
			if ld.client, errs[i] = nbd.Dial(ctx, nbd.URI(socket, ld.disk.Name), nbd.DialOptions{MetaContexts: metas}); errs[i] == nil {
				ld.disk.Size = ld.client.Size()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
