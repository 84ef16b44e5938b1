// Package local protects disk image files without a controller.
package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/keyring"
	"understudy/internal/registry"
	"understudy/internal/replicate"
	"understudy/internal/vault"
)

// filesSite is the owner of groups that `understudy protect FILE` writes.
const filesSite = "files"

// ProtectRequest asks for one cycle of disk image files.
type ProtectRequest struct {
	Files    []string // disks of one machine
	Group    string   // also the machine's name; empty: the first file's name
	Moved    bool     // the files have a new place
	Progress func(replicate.Progress)
	// Waiting is called when the group's lease is another's and is waited for, at most until it must have ended.
	Waiting func(atMost time.Duration)
}

// leaseTTL is how long a killed protect keeps the next one waiting.
const leaseTTL = 30 * time.Second

// Check looks at disk image files as Protect would take them, so that a mistyped name does not make a vault.
func Check(ctx context.Context, req ProtectRequest) error {
	group := req.name()
	driver, err := registry.Files(group, req.Files, registry.Options{})
	if err == nil {
		_, err = driver.Machines(ctx)
	}
	if err != nil {
		return fmt.Errorf("protect %s: %w", group, err)
	}
	return nil
}

func (r ProtectRequest) name() string {
	if r.Group != "" {
		return r.Group
	}
	return registry.DiskName(r.Files[0])
}

// Protect sends what changed in disk image files to a vault as one recovery point.
func Protect(ctx context.Context, o keyring.Opener, v *keyring.Opened, req ProtectRequest) (group string, res replicate.Result, err error) {
	group = req.name()
	dir := filepath.Join(o.Homes.State, "files", v.ID())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return group, res, fmt.Errorf("protect %s: %w", group, err)
	}
	record := filepath.Join(dir, group+".files.json")
	files, err := checkFiles(record, group, req)
	if err != nil {
		return group, res, err
	}
	driver, err := registry.Files(group, files, registry.Options{Dir: filepath.Join(dir, group+".image"), Now: o.Now, Logger: o.Logger})
	if err != nil {
		return group, res, err
	}
	lease, err := acquire(ctx, v, group, req.Waiting)
	if err != nil {
		return group, res, fmt.Errorf("protect %s: %w", group, err)
	}
	cycler := &replicate.Cycler{Driver: driver, Vault: v.Vault, Dir: dir, Now: o.Now, Logger: o.Logger}
	g := dr.Group{Name: group, Site: filesSite, Machines: []dr.MachinePolicy{{Name: group}}}
	err = held(ctx, lease, func(ctx context.Context) error {
		if err := writeRecord(record, files); err != nil {
			return err
		}
		res, err = cycler.Cycle(ctx, lease, g, replicate.CycleOptions{Progress: req.Progress})
		return err
	})
	return group, res, err
}

// acquire takes a group's lease. One that is another's is waited for: its holder may have been killed, and then it ends
// by itself; or it is at work and soon done.
func acquire(ctx context.Context, v *keyring.Opened, group string, waiting func(time.Duration)) (*vault.Lease, error) {
	const most = leaseTTL + 2*time.Second
	for end := time.Now().Add(most); ; waiting = nil {
		lease, err := v.Acquire(ctx, group, filesSite, holder(), leaseTTL)
		if err == nil || dr.KindOf(err) != dr.KindConflict || time.Now().After(end) {
			return lease, err
		}
		if waiting != nil {
			waiting(most)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// keep renews a lease until ctx ends, and ends ctx when the lease is lost.
func keep(ctx context.Context, lease *vault.Lease, cancel context.CancelCauseFunc) {
	ticker := time.NewTicker(leaseTTL / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := lease.Renew(ctx); err != nil && ctx.Err() == nil && !lease.Valid() {
				cancel(fmt.Errorf("keep the lease on group %s: %w", lease.Group(), err))
				return
			}
		}
	}
}

// holder names this process in leases.
func holder() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s-%d-%d", host, os.Getpid(), time.Now().UnixNano())
}

// checkFiles makes the files' names absolute and compares them with those that the group held before: a group that
// silently went on with another disk would have a history that means nothing.
func checkFiles(record, group string, req ProtectRequest) ([]string, error) {
	var files []string
	for _, f := range req.Files {
		abs, err := filepath.Abs(f)
		if err != nil {
			return nil, fmt.Errorf("protect %s: %w", f, err)
		}
		files = append(files, abs)
	}
	data, err := os.ReadFile(record)
	if errors.Is(err, fs.ErrNotExist) || req.Moved {
		return files, nil
	}
	var before []string
	if err == nil {
		err = json.Unmarshal(data, &before)
	}
	if err != nil {
		return nil, fmt.Errorf("protect %s: read %s: %w", group, record, err)
	}
	if a, b := slices.Sorted(slices.Values(before)), slices.Sorted(slices.Values(files)); !slices.Equal(a, b) {
		return nil, dr.WithHint(fmt.Errorf("protect: group %s of this vault holds %v, not %v", group, before, files), dr.KindConflict,
			"choose another name with --group, or add --moved if these are the same disks")
	}
	return files, nil
}

func writeRecord(record string, files []string) error {
	data, err := json.Marshal(files)
	if err != nil {
		return err
	}
	tmp := record + ".tmp"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, record)
}

// Compact drops what the tiers do not keep of a group and merges the rest. It holds the group's lease in the name of the
// site that owns it, so that it and replication never work on the group at once.
func Compact(ctx context.Context, v *keyring.Opened, group string, tiers []dr.Tier) (stats vault.CompactStats, err error) {
	owner, err := v.Owner(ctx, group)
	if err != nil {
		return stats, err
	}
	lease, err := v.Acquire(ctx, group, owner.Site, holder(), leaseTTL)
	if err != nil {
		return stats, fmt.Errorf("compact %s: %w", group, err)
	}
	err = held(ctx, lease, func(ctx context.Context) error {
		stats, err = v.Compact(ctx, lease, tiers)
		return err
	})
	return stats, err
}

// held calls fn while the lease is renewed, and gives the lease back. fn's context ends when the lease is lost.
func held(ctx context.Context, lease *vault.Lease, fn func(context.Context) error) error {
	work, cancel := context.WithCancelCause(ctx)
	var renewing sync.WaitGroup
	renewing.Go(func() { keep(work, lease, cancel) })
	err := fn(work)
	if lost := context.Cause(work); err != nil && lost != nil && ctx.Err() == nil {
		err = lost
	}
	cancel(nil)
	renewing.Wait()
	end, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer stop()
	_ = lease.Release(end) // a lease that cannot be given back ends by itself
	return err
}
