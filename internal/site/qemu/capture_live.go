package qemu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/nbd"
	"understudy/internal/site"
	"understudy/internal/site/qemu/qmp"
)

// trackingGranularity is the area of one bit of change tracking, in bytes.
const trackingGranularity = 16 << 10

// live captures a running machine.
type live struct {
	c      *capture
	m      *machine
	req    site.CaptureRequest
	unlock func() // gives the machine's lock back; nil when it is not held

	client     *qmp.Client
	generation uint64 // the life of QEMU that was captured
	def        dr.Machine
	disks      []*liveDisk
	files      []site.CapturedDisk
	journal    journal

	// built says that QEMU may hold nodes of this capture. One of a machine that nobody wrote to has none, until
	// somebody wants to read it nevertheless: then full is a capture with nodes of what still is the same state.
	built bool
	full  *live

	goesOn  bool // the guest ran, or stood still because of a dead controller
	stopped time.Time
	resumed bool
	still   time.Duration
	marked  bool // the instant may have been made
}

// liveDisk is one disk of a running machine.
type liveDisk struct {
	lv     *live
	index  int
	disk   dr.Disk
	active blockNode
	track  tracking
	grown  int64 // size at Since, when it was another; else -1

	client *nbd.Client
	dirty  int64 // bytes that changed, as far as tracking tells
}

func (l *live) prepare(ctx context.Context) error {
	var err error
	if l.client, err = l.m.monitor(ctx); err != nil {
		return err
	}
	l.generation = l.m.generation()
	// Machines that are captured run for long.
	if err := trimConsole(l.m.consolePath(), consoleLimit, consoleTail); err != nil {
		l.m.d.log.Warn("console not trimmed", "machine", l.m.name, "error", err)
	}
	if err := l.m.sweep(ctx, l.client, true, nil); err != nil {
		return fmt.Errorf("machine %s: clean up after an earlier capture: %w", l.m.name, err)
	}
	l.m.rouseSoon(ctx)
	if err := l.look(ctx); err != nil {
		return fmt.Errorf("machine %s: %w", l.m.name, err)
	}
	return nil
}

// look finds the disks and what their tracking tells.
func (l *live) look(ctx context.Context) error {
	var devices []blockDevice
	if err := l.client.Run(ctx, "query-block", nil, &devices); err != nil {
		return err
	}
	since, known := l.m.readRecords(l.req.Group)[l.req.Since]
	l.def = l.m.def()
	l.def.Power = dr.PowerOn
	l.journal = journal{Group: l.req.Group, ID: l.req.ID}
	for _, disk := range l.def.Disks {
		id := dr.DiskID{Machine: l.m.name, Disk: disk.Name}
		old, ok := since.Disks[disk.Name]
		if disk.Role != dr.RoleDisk {
			f, err := newBootFile(id, disk.Path, old.Stamp, l.req.Since)
			if err != nil {
				return err
			}
			l.files = append(l.files, f)
			continue
		}
		dev, err := findDevice(devices, disk.Name)
		if err != nil {
			return err
		}
		active := dev.Inserted
		ld := &liveDisk{lv: l, index: len(l.disks), disk: disk, active: active, grown: -1}
		ld.disk.Size = active.Image.Size
		ld.track = trackSince(active.Bitmaps, l.req.Group, l.req.Since, old.Bitmap)
		switch {
		case ld.track.since == "":
		case !known || !ok:
			ld.track = tracking{reason: "nothing is known about the last capture of this disk", broken: ld.track.broken}
		case old.Size != active.Image.Size:
			ld.grown = min(old.Size, active.Image.Size)
		}
		l.disks = append(l.disks, ld)
		l.journal.Disks = append(l.journal.Disks, journalDisk{Path: dev.Path, Node: active.Node})
	}
	return nil
}

// remember records by what changes since this capture will be known: by a bitmap of its own or, when nothing is built
// because the machine is clean, by the bitmap that has recorded nothing yet.
func (l *live) remember() error {
	now := record{Disks: map[string]diskRecord{}}
	for _, v := range l.files {
		f := v.(*bootFile)
		now.Disks[f.id.Disk] = diskRecord{Size: f.size, Stamp: f.stamp}
	}
	for _, d := range l.disks {
		r := diskRecord{Size: d.disk.Size}
		if !l.built {
			r.Bitmap = d.track.since
		}
		now.Disks[d.disk.Name] = r
	}
	records := l.m.readRecords(l.req.Group)
	records[l.req.ID] = now
	return l.m.writeRecords(l.req.Group, records)
}

// clean reports whether nothing was written to any disk from Since until look asked.
func (l *live) clean() bool {
	for _, d := range l.disks {
		if t := d.track; t.since == "" || !t.enable || t.count > 0 || len(t.broken) > 0 || d.grown >= 0 {
			return false
		}
	}
	return true
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

// stop stops the guest; from before that until it goes on, the journal says so.
func (l *live) stop(ctx context.Context) error {
	if !l.goesOn {
		return nil
	}
	l.journal.Stopped = true
	if err := l.m.writeJournal(l.journal); err != nil {
		return err
	}
	l.stopped = time.Now()
	if err := l.client.Run(ctx, "stop", nil, nil); err != nil {
		return fmt.Errorf("machine %s: %w", l.m.name, err)
	}
	return nil
}

// mark turns the tracking over and inserts the filters while the guest stands still, and lets it go on. Other guests of
// the group stand still until they are marked, too, so that nothing this one does can reach a disk before its instant.
func (l *live) mark(ctx context.Context) error {
	var actions []qmp.Action
	granularity := cmp.Or(l.m.d.cfg.TrackingGranularity, trackingGranularity)
	for i, ld := range l.disks {
		t := ld.track
		if len(t.fold) > 0 {
			actions = append(actions, l.bitmapAction(i, "merge", t.since, map[string]any{"bitmaps": t.fold}))
		}
		if t.enable {
			actions = append(actions, l.bitmapAction(i, "disable", t.since, nil))
		}
		actions = append(actions, l.bitmapAction(i, "add", bitmapPrefix(l.req.Group)+l.req.ID, map[string]any{
			"granularity": granularity, "persistent": ld.active.persistent(),
		}))
	}
	commands := transaction(actions)
	for i, d := range l.journal.Disks {
		commands = append(commands, setDrive(d.Path, node("cbw", i)))
	}
	if l.goesOn {
		commands = append(commands, qmp.Command{Name: "cont"})
	}
	l.marked = true
	if err := l.client.RunAll(ctx, commands...); err != nil {
		return fmt.Errorf("machine %s: make the instant: %w", l.m.name, err)
	}
	l.resumed = l.goesOn
	l.still = time.Since(l.stopped)
	return nil
}

// cont lets a guest go on that mark did not let go on, over a new connection when the old one broke.
func (l *live) cont(ctx context.Context) error {
	if l.stopped.IsZero() {
		return nil
	}
	if !l.resumed {
		err := l.client.Run(ctx, "cont", nil, nil)
		if errors.Is(err, qmp.ErrLost) && l.m.running() {
			var c *qmp.Client
			if c, err = l.m.monitor(ctx); err == nil {
				err = c.Run(ctx, "cont", nil, nil)
			}
		}
		l.still = time.Since(l.stopped)
		if err != nil && !l.m.running() {
			return fmt.Errorf("machine %s: QEMU ended", l.m.name)
		}
		if err != nil {
			return fmt.Errorf("machine %s: the guest may stand still: %w", l.m.name, err)
		}
		l.resumed = true
	}
	l.journal.Stopped = false
	return l.m.writeJournal(l.journal)
}

func (l *live) paused() time.Duration {
	if l.stopped.IsZero() {
		return 0
	}
	return l.still
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

func (l *live) release() {
	if l.unlock != nil {
		l.unlock()
		l.unlock = nil
	}
}
