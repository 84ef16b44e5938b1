package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/nbd"
	"understudy/internal/site"
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

const (
	// fleeceTimeout bounds how long a guest's write waits for the fleece store.
	fleeceTimeout = 5 * time.Second
	// trackingGranularity is the area of one bit of change tracking, in bytes.
	trackingGranularity = 16 << 10
)

// live captures a running machine.
type live struct {
	m      *machine
	req    site.CaptureRequest
	unlock func() // gives the machine's lock back; nil when it is not held

	client     *qmp.Client
	generation uint64 // the life of QEMU that was captured
	def        dr.Machine
	disks      []*liveDisk
	files      []site.CapturedDisk
	journal    journal

	goesOn  bool // the guest ran, or stood still because of a dead controller
	stopped time.Time
	still   time.Duration
	marked  bool // the instant may have been made
}

// liveDisk is one disk of a running machine.
type liveDisk struct {
	lv    *live
	index int
	disk  dr.Disk
	track tracking
	grown int64 // size at Since, when it was another; else -1

	persistent bool // its image can keep bitmaps

	client *nbd.Client
	dirty  int64
}

// journal remembers in a file what a capture changes in QEMU, for the case that this controller does not live to undo it.
type journal struct {
	Group  string        `json:"group"`
	ID     string        `json:"id"`
	Frozen bool          `json:"frozen,omitempty"`
	Disks  []journalDisk `json:"disks"`
}

type journalDisk struct {
	Path string `json:"path"` // of the block device in QEMU's object tree
	Node string `json:"node"` // its active node
}

func (m *machine) journalPath() string { return filepath.Join(m.dir(), "capture.json") }

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

func (l *live) prepare(ctx context.Context) error {
	var err error
	if l.client, err = l.m.monitor(ctx); err != nil {
		return err
	}
	l.generation = l.m.generation()
	if err := l.m.sweep(ctx, l.client, true); err != nil {
		return fmt.Errorf("machine %s: clean up after an earlier capture: %w", l.m.name, err)
	}
	if err := l.prepareGraph(ctx); err != nil {
		return fmt.Errorf("machine %s: %w", l.m.name, err)
	}
	return nil
}

func (l *live) prepareGraph(ctx context.Context) error {
	// Adoption has resumed a guest that a dead controller left paused; sweep has too. One that stands still now was
	// stopped by a person or by QEMU, and stays so.
	var st runState
	if err := l.client.Run(ctx, "query-status", nil, &st); err != nil {
		return err
	}
	l.goesOn = st.Running
	var devices []blockDevice
	if err := l.client.Run(ctx, "query-block", nil, &devices); err != nil {
		return err
	}
	records := l.m.readRecords(l.req.Group)
	since, known := records[l.req.Since]
	now := record{Disks: map[string]diskRecord{}}
	l.def = l.m.def()
	l.def.Power = dr.PowerOn
	l.journal = journal{Group: l.req.Group, ID: l.req.ID}
	var actives []blockNode
	for _, disk := range l.def.Disks {
		id := dr.DiskID{Machine: l.m.name, Disk: disk.Name}
		if disk.Role != dr.RoleDisk {
			f, err := newBootFile(id, disk.Path, since.Disks[disk.Name].Stamp, l.req.Since)
			if err != nil {
				return err
			}
			now.Disks[disk.Name] = diskRecord{Size: f.size, Stamp: f.stamp}
			l.files = append(l.files, f)
			continue
		}
		dev, err := findDevice(devices, disk.Name)
		if err != nil {
			return err
		}
		active := dev.Inserted
		ld := &liveDisk{lv: l, index: len(l.disks), disk: disk, grown: -1, persistent: active.persistent()}
		ld.disk.Size = active.Image.Size
		ld.track = trackSince(active.Bitmaps, l.req.Group, l.req.Since)
		old, ok := since.Disks[disk.Name]
		switch {
		case ld.track.since == "":
		case !known || !ok:
			ld.track = tracking{reason: "nothing is known about the last capture of this disk", broken: ld.track.broken}
		case old.Size != active.Image.Size:
			ld.grown = min(old.Size, active.Image.Size)
		}
		now.Disks[disk.Name] = diskRecord{Size: active.Image.Size}
		l.disks = append(l.disks, ld)
		l.journal.Disks = append(l.journal.Disks, journalDisk{Path: dev.Path, Node: active.Node})
		actives = append(actives, active)
	}
	records[l.req.ID] = now
	if err := l.m.writeRecords(l.req.Group, records); err != nil {
		return err
	}
	if err := l.m.writeJournal(l.journal); err != nil {
		return err
	}
	var broken []qmp.Action
	for i, active := range actives {
		// Stopping a guest flushes its disks: what is flushed now does not prolong the pause.
		flushFile(active.Image.Filename)
		for _, name := range l.disks[i].track.broken {
			broken = append(broken, l.bitmapAction(i, "remove", name, nil))
		}
	}
	if err := l.client.Transaction(ctx, broken...); err != nil {
		return fmt.Errorf("remove inconsistent bitmaps: %w", err)
	}
	for i, active := range actives {
		if err := l.addFilter(ctx, i, active); err != nil {
			return fmt.Errorf("disk %s: %w", l.disks[i].disk.Name, err)
		}
	}
	return nil
}

func findDevice(devices []blockDevice, disk string) (blockDevice, error) {
	for _, dev := range devices {
		if strings.HasPrefix(dev.Path+"/", "/machine/peripheral/"+deviceID(disk)+"/") && dev.Inserted.Node != "" {
			return dev, nil
		}
	}
	return blockDevice{}, dr.WithHint(fmt.Errorf("disk %s: the running machine has no such disk", disk), dr.KindConflict,
		"restart the machine, so that it has the disks of its definition")
}

func flushFile(path string) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	_ = f.Sync() // only saves time
	_ = f.Close()
}

// addFilter prepares a disk's filter and fleece store. They have no effect before the filter is inserted.
func (l *live) addFilter(ctx context.Context, i int, active blockNode) error {
	path := l.m.fleecePath(i)
	if err := os.MkdirAll(l.m.fleeceDir(), 0o700); err != nil {
		return err
	}
	limit := l.m.d.fleeceLimit(l.m.fleeceDir(), active.Image.Size, len(l.disks))
	if err := createFleece(path, active.Image.Size, limit); err != nil {
		return err
	}
	err := l.client.Run(ctx, "blockdev-add", map[string]any{
		"driver": "qcow2", "node-name": node("fleece", i), "discard": "unmap",
		"cache": map[string]any{"direct": false, "no-flush": true},
		"file": map[string]any{
			"driver": "raw", "size": limit,
			"file": map[string]any{"driver": "file", "filename": path, "discard": "unmap"},
		},
	}, nil)
	if err != nil {
		return err
	}
	timeout := l.m.d.cfg.FleeceTimeout
	if timeout == 0 {
		timeout = fleeceTimeout
	}
	return l.client.Run(ctx, "blockdev-add", map[string]any{
		"driver": "copy-before-write", "node-name": node("cbw", i), "file": active.Node, "target": node("fleece", i),
		"on-cbw-error": "break-snapshot", "cbw-timeout": int64(max(timeout, time.Second) / time.Second),
	}, nil)
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

func (l *live) freeze(ctx context.Context) error {
	if !l.goesOn {
		return fmt.Errorf("machine %s: the guest stands still", l.m.name)
	}
	l.journal.Frozen = true
	if err := l.m.writeJournal(l.journal); err != nil {
		return err
	}
	a, err := l.m.agent(ctx)
	if err != nil {
		return err
	}
	defer a.Close() //nolint:errcheck // the guest stays frozen without the connection
	_, err = a.Freeze(ctx)
	return err
}

func (l *live) thaw(ctx context.Context) error {
	if !l.journal.Frozen {
		return nil
	}
	if err := l.m.thaw(ctx); err != nil {
		return err
	}
	l.journal.Frozen = false
	return l.m.writeJournal(l.journal)
}

// thaw makes the guest's file systems go on. A guest without an agent never froze.
func (m *machine) thaw(ctx context.Context) error {
	if !m.def().Agent {
		return nil
	}
	a, err := m.agent(ctx)
	if err != nil {
		return err
	}
	defer a.Close() //nolint:errcheck // nothing to lose
	return a.Thaw(ctx)
}

func (l *live) stop(ctx context.Context) error {
	if !l.goesOn {
		return nil
	}
	l.stopped = time.Now()
	if err := l.client.Run(ctx, "stop", nil, nil); err != nil {
		return fmt.Errorf("machine %s: %w", l.m.name, err)
	}
	return nil
}

// mark turns the tracking over and inserts the filters. The guest stands still.
func (l *live) mark(ctx context.Context) error {
	var actions []qmp.Action
	granularity := l.m.d.cfg.TrackingGranularity
	if granularity == 0 {
		granularity = trackingGranularity
	}
	prefix := bitmapPrefix(l.req.Group)
	for i, ld := range l.disks {
		t := ld.track
		if len(t.fold) > 0 {
			actions = append(actions, l.bitmapAction(i, "merge", t.since, map[string]any{"bitmaps": t.fold}))
		}
		if t.enable {
			actions = append(actions, l.bitmapAction(i, "disable", t.since, nil))
		}
		actions = append(actions, l.bitmapAction(i, "add", prefix+l.req.ID, map[string]any{
			"granularity": granularity, "persistent": ld.persistent,
		}))
	}
	l.marked = true
	if err := l.client.Transaction(ctx, actions...); err != nil {
		return fmt.Errorf("machine %s: turn change tracking over: %w", l.m.name, err)
	}
	for i, d := range l.journal.Disks {
		if err := setDrive(ctx, l.client, d.Path, node("cbw", i)); err != nil {
			return fmt.Errorf("machine %s: insert filter: %w", l.m.name, err)
		}
	}
	return nil
}

func setDrive(ctx context.Context, c *qmp.Client, path, node string) error {
	return c.Run(ctx, "qom-set", map[string]any{"path": path, "property": "drive", "value": node}, nil)
}

// cont lets the guest go on, over a new connection when the old one broke.
func (l *live) cont(ctx context.Context) error {
	if l.stopped.IsZero() {
		return nil
	}
	err := l.client.Run(ctx, "cont", nil, nil)
	if errors.Is(err, qmp.ErrLost) && l.m.running() {
		var c *qmp.Client
		if c, err = l.m.monitor(ctx); err == nil {
			err = c.Run(ctx, "cont", nil, nil)
		}
	}
	l.still = time.Since(l.stopped)
	if err != nil {
		return fmt.Errorf("machine %s: the guest may stand still: %w", l.m.name, err)
	}
	return nil
}

func (l *live) paused() time.Duration { return l.still }

// open exports the views.
func (l *live) open(ctx context.Context) error {
	if len(l.disks) == 0 {
		return nil
	}
	if err := l.export(ctx); err != nil {
		return fmt.Errorf("machine %s: %w", l.m.name, err)
	}
	return nil
}

func (l *live) export(ctx context.Context) error {
	socket := l.m.d.socket(l.m.name, "nbd")
	_ = os.Remove(socket)
	err := l.client.Run(ctx, "nbd-server-start", map[string]any{
		"addr": map[string]any{"type": "unix", "data": map[string]any{"path": socket}}, "max-connections": 0,
	}, nil)
	if err != nil {
		return err
	}
	var nodes []blockNode
	if err := l.client.Run(ctx, "query-named-block-nodes", map[string]any{"flat": true}, &nodes); err != nil {
		return err
	}
	for i, ld := range l.disks {
		err := l.client.Run(ctx, "blockdev-add", map[string]any{
			"driver": "snapshot-access", "node-name": node("snap", i), "file": node("cbw", i),
		}, nil)
		if err != nil {
			return err
		}
		args := map[string]any{"type": "nbd", "id": node("export", i), "node-name": node("snap", i), "name": ld.disk.Name}
		metas := []string{nbd.MetaAllocation}
		if t := ld.track; t.since != "" {
			base := l.journal.Disks[i].Node
			args["bitmaps"] = []any{map[string]any{"node": base, "name": t.since}}
			metas = append(metas, nbd.MetaDirtyBitmap(t.since))
			if ld.dirty, err = dirtyBytes(nodes, base, t.since); err != nil {
				return err
			}
		}
		if err := l.client.Run(ctx, "block-export-add", args, nil); err != nil {
			return err
		}
		ld.client, err = nbd.Dial(ctx, nbd.URI(socket, ld.disk.Name), nbd.DialOptions{MetaContexts: metas})
		if err != nil {
			return err
		}
		ld.disk.Size = ld.client.Size()
	}
	return nil
}

func dirtyBytes(nodes []blockNode, name, bitmap string) (int64, error) {
	for _, n := range nodes {
		for _, b := range n.Bitmaps {
			if n.Node == name && b.Name == bitmap {
				return b.Count, nil
			}
		}
	}
	return 0, fmt.Errorf("bitmap %s is gone from node %s", bitmap, name)
}

func (l *live) machine() dr.Machine {
	def := cloneMachine(l.def)
	for _, v := range l.views() {
		for i := range def.Disks {
			if def.Disks[i].Name == v.ID().Disk {
				def.Disks[i].Size = v.Size()
			}
		}
	}
	return def
}

func (l *live) views() []site.CapturedDisk {
	views := append([]site.CapturedDisk(nil), l.files...)
	for _, d := range l.disks {
		views = append(views, d)
	}
	return views
}

// close ends the reading of the views.
func (l *live) close() {
	for _, d := range l.disks {
		if d.client != nil {
			_ = d.client.Close()
		}
	}
	for _, f := range l.files {
		_ = f.(*bootFile).Close()
	}
}

func (l *live) release() {
	if l.unlock != nil {
		l.unlock()
		l.unlock = nil
	}
}

// same reports whether QEMU is still the process that was captured. With its end the filters, the exports and the
// bitmaps in memory went too.
func (l *live) same() bool { return l.m.running() && l.m.generation() == l.generation }

func (l *live) commit(ctx context.Context) error {
	l.close()
	err := l.finish(ctx, func(nodes []blockNode) []qmp.Action {
		var actions []qmp.Action
		prefix := bitmapPrefix(l.req.Group)
		for i, d := range l.journal.Disks {
			bitmaps := bitmapsOf(nodes, d.Node)
			if _, ok := bitmaps[prefix+l.req.ID]; !ok {
				continue
			}
			for name := range bitmaps {
				if strings.HasPrefix(name, prefix) && name != prefix+l.req.ID {
					actions = append(actions, l.bitmapAction(i, "remove", name, nil))
				}
			}
		}
		return actions
	})
	if err != nil {
		return err
	}
	records := l.m.readRecords(l.req.Group)
	if r, ok := records[l.req.ID]; ok {
		return l.m.writeRecords(l.req.Group, map[string]record{l.req.ID: r})
	}
	return nil
}

func (l *live) abort(ctx context.Context) error {
	l.close()
	err := l.finish(ctx, func(nodes []blockNode) []qmp.Action {
		var actions []qmp.Action
		next := bitmapPrefix(l.req.Group) + l.req.ID
		for i, d := range l.journal.Disks {
			bitmaps := bitmapsOf(nodes, d.Node)
			if _, ok := bitmaps[next]; !ok || !l.marked {
				continue
			}
			if since, ok := bitmaps[l.disks[i].track.since]; ok && !since.Recording {
				actions = append(actions,
					l.bitmapAction(i, "merge", since.Name, map[string]any{"bitmaps": []string{next}}),
					l.bitmapAction(i, "enable", since.Name, nil))
			}
			actions = append(actions, l.bitmapAction(i, "remove", next, nil))
		}
		return actions
	})
	if err != nil {
		return err
	}
	records := l.m.readRecords(l.req.Group)
	if _, ok := records[l.req.ID]; ok {
		delete(records, l.req.ID)
		return l.m.writeRecords(l.req.Group, records)
	}
	return nil
}

// finish takes the graph down and carries out what then is to be done with the bitmaps. A QEMU that died needs neither.
func (l *live) finish(ctx context.Context, decide func([]blockNode) []qmp.Action) error {
	if l.unlock == nil {
		unlock, err := l.m.lock(ctx)
		if err != nil {
			return err
		}
		defer unlock()
	}
	if l.client == nil {
		return nil
	}
	err := l.finishLocked(ctx, decide)
	if err != nil && !l.same() {
		return l.m.forgetCapture()
	}
	if err != nil {
		return fmt.Errorf("machine %s: %w", l.m.name, err)
	}
	return nil
}

func (l *live) finishLocked(ctx context.Context, decide func([]blockNode) []qmp.Action) error {
	if !l.same() {
		return l.m.forgetCapture()
	}
	c, err := l.m.monitor(ctx)
	if err != nil {
		return err
	}
	if err := l.m.sweep(ctx, c, false); err != nil {
		return err
	}
	var nodes []blockNode
	if err := c.Run(ctx, "query-named-block-nodes", map[string]any{"flat": true}, &nodes); err != nil {
		return err
	}
	return c.Transaction(ctx, decide(nodes)...)
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
