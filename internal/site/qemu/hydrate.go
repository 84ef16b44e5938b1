package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site/qemu/qmp"
)

// hydratePoll is how often progress is asked for; the end of a job is told by an event.
const hydratePoll = 250 * time.Millisecond

// errMoved says that the machine was started or stopped while its disks were hydrated: the other way goes on.
var errMoved = errors.New("the machine's power state changed")

// Hydrate copies what the machine's disks still take from their sources: by a job in QEMU while it runs, which goes on
// when the caller or the controller ends, and by qemu-img while it is stopped. A start or stop in between is no error.
func (d *Driver) Hydrate(ctx context.Context, name string, progress func(done, total int64)) error {
	if progress == nil {
		progress = func(int64, int64) {}
	}
	for {
		m, err := d.machine(name)
		if err != nil {
			return err
		}
		if err := m.hydrate(ctx, progress); !errors.Is(err, errMoved) {
			return err
		}
	}
}

func (m *machine) hydrate(ctx context.Context, progress func(done, total int64)) error {
	var done, total int64
	var needy []dr.Disk
	for _, k := range m.def().Disks {
		if k.Role != dr.RoleDisk {
			continue
		}
		total += k.Size
		if m.layered(k.Name) {
			done += k.Size // Preserve took it only after it was hydrated
			continue
		}
		img, err := readImage(k.Path, k.Format)
		if err != nil {
			return fmt.Errorf("hydrate %s: %w", m.name, err)
		}
		if img.Backing != "" {
			needy = append(needy, k)
		} else {
			done += k.Size
		}
	}
	progress(done, total)
	for _, k := range needy {
		report := func(n int64) { progress(done+min(n, k.Size), total) }
		if err := m.hydrateDisk(ctx, k, report); err != nil {
			return fmt.Errorf("hydrate %s/%s: %w", m.name, k.Name, err)
		}
		done += k.Size
		progress(done, total)
	}
	return nil
}

func (m *machine) hydrateDisk(ctx context.Context, k dr.Disk, report func(int64)) error {
	unlock, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := m.load(); err != nil {
		return err
	}
	if m.layered(k.Name) {
		return nil
	}
	if m.running() {
		c, err := m.monitor(ctx)
		if err == nil {
			err = startStream(ctx, c, k)
		}
		unlock()
		if err == nil {
			err = followStream(ctx, c, k, report)
		}
		switch {
		case err == nil:
		case ctx.Err() == nil && (errors.Is(err, qmp.ErrLost) || !m.running()):
			return errMoved
		default:
			return err
		}
	} else {
		if err := m.unopened(ctx, "hydrate", everyone); err != nil {
			return err
		}
		if err := m.rebase(ctx, k, report); err != nil {
			return err
		}
	}
	img, err := readImage(k.Path, k.Format)
	if err == nil && img.Backing != "" {
		err = fmt.Errorf("the disk still has a source: %s", img.Backing)
	}
	return err
}

// job is QEMU's account of a background job.
type job struct {
	ID      string `json:"id"`
	Status  string `json:"status"`
	Current int64  `json:"current-progress"`
	Total   int64  `json:"total-progress"`
	Error   string `json:"error"`
}

func streamJob(disk string) string { return "hydrate-" + disk }

func findJob(ctx context.Context, c *qmp.Client, id string) (job, bool, error) {
	var jobs []job
	if err := c.Run(ctx, "query-jobs", nil, &jobs); err != nil {
		return job{}, false, err
	}
	for _, j := range jobs {
		if j.ID == id {
			return j, true, nil
		}
	}
	return job{}, false, nil
}

// startStream starts the disk's job, unless one that an earlier call started is there.
func startStream(ctx context.Context, c *qmp.Client, k dr.Disk) error {
	id := streamJob(k.Name)
	j, found, err := findJob(ctx, c, id)
	if err != nil {
		return err
	}
	if found && j.Status != "concluded" {
		return nil
	}
	if found { // an earlier call did not see its end
		if err := c.Run(ctx, "job-dismiss", map[string]any{"id": id}, nil); err != nil {
			return err
		}
		if img, err := readImage(k.Path, k.Format); err != nil || img.Backing == "" {
			return err
		}
	}
	// Not dismissed by itself, so that its outcome can be asked for whatever happens to this connection; not finalized by
	// itself, because that makes the image forget its source while what was copied may still be in QEMU's memory.
	return c.Run(ctx, "block-stream", map[string]any{
		"job-id": id, "device": formatNode(k.Name), "on-error": "report", "auto-dismiss": false, "auto-finalize": false,
	}, nil)
}

// followStream reports a disk's job until it has ended.
func followStream(ctx context.Context, c *qmp.Client, k dr.Disk, report func(int64)) error {
	id := streamJob(k.Name)
	events, cancel := c.Subscribe(16, "JOB_STATUS_CHANGE")
	defer cancel()
	tick := time.NewTicker(hydratePoll)
	defer tick.Stop()
	for {
		j, found, err := findJob(ctx, c, id)
		if err != nil || !found {
			return err
		}
		if j.Total > 0 {
			report(int64(float64(k.Size) * float64(j.Current) / float64(j.Total)))
		}
		if j.Status == "pending" {
			if err := finalize(ctx, c, k, id); err != nil {
				return err
			}
			continue
		}
		if j.Status == "concluded" {
			if err := c.Run(ctx, "job-dismiss", map[string]any{"id": id}, nil); err != nil {
				return err
			}
			if j.Error != "" {
				return dr.WithHint(fmt.Errorf("stream: %s", j.Error), dr.KindUnavailable, "see that the recovery point is served and that the disk has space")
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case _, ok := <-events:
			if !ok {
				return c.Err()
			}
		case <-tick.C:
		}
	}
}

// finalize makes the image forget its source, after what was copied and the tables that lead to it are durable: a QEMU
// that is killed later leaves a disk without holes.
func finalize(ctx context.Context, c *qmp.Client, k dr.Disk, id string) error {
	if err := flushNode(ctx, c, formatNode(k.Name)); err != nil {
		return err
	}
	return c.Run(ctx, "job-finalize", map[string]any{"id": id}, nil)
}

// percent is what qemu-img -p writes.
var percent = regexp.MustCompile(`\(([0-9.]+)/100%\)`)

// rebase makes the disk of the stopped machine independent; the caller holds the lock. A start, or anything else that
// uses lockNow, ends it, and a later call goes on: what was copied is kept.
func (m *machine) rebase(ctx context.Context, k dr.Disk, report func(int64)) error {
	octx, cancel := context.WithCancel(ctx)
	defer cancel()
	m.setYield(cancel)
	defer m.setYield(nil)
	// writethrough: what was copied is durable before the image forgets its source, which is the tool's last write.
	err := m.d.image(octx, func(b []byte) {
		if found := percent.FindAllSubmatch(b, -1); found != nil {
			p, _ := strconv.ParseFloat(string(bytes.TrimSpace(found[len(found)-1][1])), 64)
			report(int64(float64(k.Size) * p / 100))
		}
	}, "rebase", "-p", "-t", "writethrough", "-f", "qcow2", "-b", "", k.Path)
	if err != nil && octx.Err() != nil && ctx.Err() == nil {
		return errMoved
	}
	return err
}

func (m *machine) setYield(cancel context.CancelFunc) {
	m.mu.Lock()
	m.yield = cancel
	m.mu.Unlock()
}

// lockRetry is how often work that holds the lock for long is asked to give it up.
const lockRetry = 50 * time.Millisecond

// lockNow is lock for those who do not wait for long work on the images of the stopped machine: it ends that work.
func (m *machine) lockNow(ctx context.Context) (unlock func(), err error) {
	for {
		m.mu.Lock()
		if m.yield != nil {
			m.yield()
		}
		m.mu.Unlock()
		try, cancel := context.WithTimeout(ctx, lockRetry)
		unlock, err := m.lock(try)
		cancel()
		if err == nil || ctx.Err() != nil {
			return unlock, err
		}
	}
}
