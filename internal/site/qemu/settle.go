package qemu

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site/qemu/qmp"
)

const (
	// switchLimit bounds the time for which a guest stands still while QEMU leaves a layer.
	switchLimit = 15 * time.Second
	// settlePoll is how often a job is asked for, and how often a machine that is being captured is looked at.
	settlePoll = 50 * time.Millisecond
)

func settleJob(disk string) string { return "settle-" + disk }

// accept makes what is in the layers the content of the disks below them, one after the other.
func (d *Driver) accept(ctx context.Context, name string) error {
	m, err := d.machine(name)
	if err != nil {
		return err
	}
	unlock, err := m.lockUncaptured(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	k, err := m.readKept()
	if err != nil || k == nil {
		return err
	}
	work, yield := context.WithCancel(ctx)
	defer yield()
	m.setYield(yield)
	defer m.setYield(nil)
	if m.running() {
		err = m.acceptRunning(work, k)
	} else if err = m.unopened(ctx, "settle", everyone); err == nil {
		err = m.acceptStopped(work, k)
	}
	if err != nil && ctx.Err() == nil && (work.Err() != nil || errors.Is(err, qmp.ErrLost)) {
		return errMoved
	}
	return err
}

// lockUncaptured is lock for what takes long and moves the disks' nodes: it waits for a capture under way to end.
func (m *machine) lockUncaptured(ctx context.Context) (unlock func(), err error) {
	for {
		unlock, err := m.lock(ctx)
		if err != nil {
			return nil, err
		}
		if !m.d.captures.claimed(m.name) {
			return unlock, nil
		}
		unlock()
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("machine %s: a capture is under way: %w", m.name, context.Cause(ctx))
		case <-time.After(settlePoll):
		}
	}
}

// claimed reports whether a capture of the machine has begun and not ended.
func (k *captures) claimed(name string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.open[name] != nil
}

// beginAccept says that there is no way back.
func (m *machine) beginAccept(k *kept) error {
	k.Accepting, k.Switching, k.Stopped = true, "", false
	return m.writeKept(*k)
}

// unlayer takes a disk out of what is kept, after the disk below has everything, durably.
func (m *machine) unlayer(k *kept, disk string) error {
	left := maps.Clone(k.Layers)
	delete(left, disk)
	next := kept{Accepting: true, Layers: left, Stopped: k.Stopped}
	if err := m.writeKept(next); err != nil {
		return err
	}
	*k = next
	return m.load()
}

// acceptStopped settles with qemu-img. The caller holds the lock.
func (m *machine) acceptStopped(ctx context.Context, k *kept) error {
	if err := m.beginAccept(k); err != nil {
		return err
	}
	for _, disk := range slices.Sorted(maps.Keys(k.Layers)) {
		l, path := k.Layers[disk], m.layerPath(disk)
		if err := m.d.image(ctx, nil, "commit", "-q", "-d", "-f", "qcow2", path); err != nil {
			return fmt.Errorf("disk %s: %w", disk, err)
		}
		if st, err := os.Stat(l.Path); err == nil && l.Format == "raw" && st.Mode().IsRegular() && st.Size() == sectors(l.Size) {
			if err := os.Truncate(l.Path, l.Size); err != nil { // to where it ended within a sector
				return fmt.Errorf("disk %s: %w", disk, err)
			}
		}
		if err := syncFile(l.Path); err != nil {
			return fmt.Errorf("disk %s: %w", disk, err)
		}
		if err := m.unlayer(k, disk); err != nil {
			return err
		}
		_ = os.Remove(path) // settled removes what is left
	}
	return m.settled()
}

// acceptRunning settles within QEMU. The caller holds the lock, and no capture is open.
func (m *machine) acceptRunning(ctx context.Context, k *kept) error {
	c, err := m.monitor(ctx)
	if err != nil {
		return err
	}
	if err := m.sweep(ctx, c, true, nil); err != nil {
		return err
	}
	if err := m.endSwitch(ctx, c, k); err != nil {
		return err
	}
	if err := m.beginAccept(k); err != nil {
		return err
	}
	for _, disk := range slices.Sorted(maps.Keys(k.Layers)) {
		if err := m.acceptDisk(ctx, c, k, disk); err != nil {
			return fmt.Errorf("disk %s: %w", disk, err)
		}
	}
	return m.settled()
}

func (m *machine) acceptDisk(ctx context.Context, c *qmp.Client, k *kept, disk string) (err error) {
	id := settleJob(disk)
	err = c.Run(ctx, "block-commit", map[string]any{
		"job-id": id, "device": formatNode(disk), "base-node": keptNode(disk), "on-error": "report",
		"auto-dismiss": false, "filter-node-name": switchNode(disk),
	}, nil)
	if err != nil {
		return err
	}
	if err := awaitJob(ctx, c, id, "ready"); err != nil {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), switchLimit)
		defer cancel()
		return errors.Join(err, m.endSwitch(clean, c, k))
	}
	// From here on nobody's impatience counts: a guest must not be left standing still.
	held, cancel := context.WithTimeout(context.WithoutCancel(ctx), switchLimit)
	defer cancel()
	began := time.Now()
	defer func() {
		// Whatever happened, what QEMU runs on decides.
		if e := m.goOnAfterSwitch(held, k); err == nil {
			err = e
		}
		m.d.log.Info("guest stood still for the end of a layer", "machine", m.name, "disk", disk, "duration", time.Since(began), "error", err)
	}()
	var st runState
	if err := c.Run(held, "query-status", nil, &st); err != nil {
		return err
	}
	k.Switching, k.Stopped = disk, st.Running
	if err := m.writeKept(*k); err != nil {
		return err
	}
	began = time.Now()
	if st.Running {
		if err := c.Run(held, "stop", nil, nil); err != nil {
			return err
		}
	}
	if err := c.Run(held, "job-complete", map[string]any{"id": id}, nil); err != nil {
		return err
	}
	return awaitJob(held, c, id, "concluded")
}

// goOnAfterSwitch ends a switch over whatever connection there is, unless QEMU itself is gone.
func (m *machine) goOnAfterSwitch(ctx context.Context, k *kept) error {
	if !m.running() {
		return nil
	}
	c, err := m.monitor(ctx)
	if err == nil {
		err = m.endSwitch(ctx, c, k)
	}
	if err != nil {
		return fmt.Errorf("the guest may stand still: %w", err)
	}
	return nil
}

// endSwitch ends every job of an accept that was cut off, finds out whether QEMU left the layer that it was to leave,
// notes that, and lets the guest go on.
func (m *machine) endSwitch(ctx context.Context, c *qmp.Client, k *kept) error {
	var jobs []job
	if err := c.Run(ctx, "query-jobs", nil, &jobs); err != nil {
		return err
	}
	for _, j := range jobs {
		if !strings.HasPrefix(j.ID, settleJob("")) {
			continue
		}
		if j.Status != "concluded" {
			// Without force, one that is ready would end as if it had been completed, but without the switch.
			if err := c.Run(ctx, "block-job-cancel", map[string]any{"device": j.ID, "force": true}, nil); err != nil {
				return err
			}
			if err := awaitJob(ctx, c, j.ID, "concluded"); err != nil && !errors.Is(err, errJob) {
				return err
			}
		}
		if err := c.Run(ctx, "job-dismiss", map[string]any{"id": j.ID}, nil); err != nil {
			return err
		}
	}
	disk := k.Switching
	left, err := m.leftLayer(ctx, c, disk)
	if err != nil {
		return err
	}
	if left {
		if err := flushNode(ctx, c, keptNode(disk)); err != nil {
			return err
		}
		if err := m.unlayer(k, disk); err != nil {
			return err
		}
	}
	if disk == "" && !k.Stopped {
		return nil
	}
	if k.Stopped {
		var st runState
		if err := c.Run(ctx, "query-status", nil, &st); err != nil {
			return err
		}
		if st.Status == "paused" {
			if err := c.Run(ctx, "cont", nil, nil); err != nil {
				return err
			}
		}
	}
	k.Switching, k.Stopped = "", false
	if err := m.writeKept(*k); err != nil {
		return err
	}
	if left {
		// The layer is nobody's now. Nodes that stay do no harm until QEMU ends.
		_ = c.RunAll(ctx,
			qmp.Command{Name: "blockdev-del", Args: map[string]any{"node-name": formatNode(disk)}, MayFail: true},
			qmp.Command{Name: "blockdev-del", Args: map[string]any{"node-name": protocolNode(disk)}, MayFail: true})
		_ = os.Remove(m.layerPath(disk))
	}
	return nil
}

// leftLayer reports whether the guest's disk is the one below the layer.
func (m *machine) leftLayer(ctx context.Context, c *qmp.Client, disk string) (bool, error) {
	if disk == "" {
		return false, nil
	}
	var devices []blockDevice
	if err := c.Run(ctx, "query-block", nil, &devices); err != nil {
		return false, err
	}
	dev, err := findDevice(devices, disk)
	if err != nil {
		return false, err
	}
	switch dev.Inserted.Node {
	case keptNode(disk):
		return true, nil
	case formatNode(disk):
		return false, nil
	}
	return false, dr.WithHint(fmt.Errorf("the machine runs on image %s, which is not of this site", dev.Inserted.Image.Filename), dr.KindConflict,
		"end the job of another program on this disk")
}

// flushNode makes durable what a node holds.
func flushNode(ctx context.Context, c *qmp.Client, node string) error {
	var said string
	err := c.Run(ctx, "human-monitor-command", map[string]any{"command-line": fmt.Sprintf("qemu-io %s flush", node)}, &said)
	if err == nil && strings.TrimSpace(said) != "" {
		err = errors.New(lastLines(said, 1))
	}
	if err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

// errJob is the failure of a job in QEMU.
var errJob = errors.New("job failed")

// awaitJob waits until a job has the status, or has ended otherwise.
func awaitJob(ctx context.Context, c *qmp.Client, id, status string) error {
	events, cancel := c.Subscribe(16, "JOB_STATUS_CHANGE")
	defer cancel()
	for {
		j, found, err := findJob(ctx, c, id)
		switch {
		case err != nil:
			return err
		case !found:
			return fmt.Errorf("%w: it is gone", errJob)
		case j.Status == "concluded" && j.Error != "":
			return dr.WithHint(fmt.Errorf("%w: %s", errJob, j.Error), dr.KindUnavailable, "see that the disk has space, then repeat")
		case j.Status == status:
			return nil
		case j.Status == "concluded":
			return fmt.Errorf("%w: it ended early", errJob)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case _, ok := <-events:
			if !ok {
				return c.Err()
			}
		case <-time.After(hydratePoll):
		}
	}
}
