package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"understudy/internal/dr"
	"understudy/internal/nbd"
	"understudy/internal/site"
)

// firstLine is what the guest prints once its disk is mounted and it does its work.
const firstLine = "role=idle ready"

// boot measures the way from nothing to the guest's first line: from local files, and from the vault.
func boot(ctx context.Context, b *bench) error {
	if b.guest == "" {
		return fmt.Errorf("no guest: run `make bench`, or name its folder with -guest")
	}
	dir := filepath.Join(b.dir, "boot")
	disk := filepath.Join(dir, "data.raw")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(disk, nil, 0o644); err != nil {
		return err
	}
	if err := os.Truncate(disk, 256<<20); err != nil {
		return err
	}
	guest, err := filepath.Abs(b.guest)
	if err != nil {
		return err
	}
	r, err := newRig(ctx, dir, fmt.Sprintf(`name: m
memory: 256MiB
boot: {kernel: %s/vmlinuz, initrd: %s/initrd.gz, cmdline: "console=ttyS0 quiet us.role=idle"}
disks: [{name: data, path: %s, format: raw}]
`, guest, guest, disk))
	if err != nil {
		return err
	}
	defer r.driver.Close()
	if _, err := r.bootLocal(ctx); err != nil { // formats the disk
		return err
	}
	if _, err := r.cycle(ctx); err != nil {
		return err
	}
	var local, remote []time.Duration
	for range b.runs {
		l, err := r.bootLocal(ctx)
		if err != nil {
			return err
		}
		v, err := r.bootVault(ctx, dir)
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "  local %.2f s, vault %.2f s\n", l.Seconds(), v.Seconds())
		local, remote = append(local, l), append(remote, v)
	}
	slices.Sort(local)
	slices.Sort(remote)
	mine, peer := remote[len(remote)/2].Seconds(), local[len(local)/2].Seconds()
	b.add(result{"instant boot from the vault", mine, "s", "local raw disk", mine / peer, "at most 1.3x", mine <= 1.3*peer})
	return nil
}

func (r *rig) waitFirstLine(ctx context.Context, machine string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return r.driver.Probe(ctx, machine, dr.Probe{Kind: dr.ProbeSerial, Text: firstLine})
}

func (r *rig) bootLocal(ctx context.Context) (time.Duration, error) {
	defer func() { _ = r.driver.Power(context.WithoutCancel(ctx), "m", site.PowerKill) }()
	began := time.Now()
	if err := r.driver.Power(ctx, "m", site.PowerStart); err != nil {
		return 0, err
	}
	err := r.waitFirstLine(ctx, "m")
	return time.Since(began), err
}

// bootVault opens the newest point, serves it, and boots a machine from it.
func (r *rig) bootVault(ctx context.Context, dir string) (took time.Duration, err error) {
	began := time.Now()
	head, err := r.vault.Head(ctx, "g")
	if err != nil {
		return 0, err
	}
	point, err := r.vault.OpenPoint(ctx, "g", head.Point.ID)
	if err != nil {
		return 0, err
	}
	defer point.Close()
	socket := filepath.Join(dir, "nbd")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return 0, err
	}
	server := nbd.NewServer(nbd.ServerOptions{})
	defer server.Close()
	go func() { _ = server.Serve(ctx, listener) }()
	machine := point.Machines()[0]
	machine.Name = "recovered"
	req := site.ProvisionRequest{Machine: machine, Sources: map[string]string{}, Owner: "bench"}
	for _, d := range machine.Disks {
		device, err := point.Disk(dr.DiskID{Machine: "m", Disk: d.Name})
		if err != nil {
			return 0, err
		}
		if err := server.Add(nbd.Export{Name: d.Name, Device: device, ReadOnly: true}); err != nil {
			return 0, err
		}
		req.Sources[d.Name] = "nbd+unix:///" + d.Name + "?socket=" + url.QueryEscape(socket)
	}
	defer func() {
		if derr := r.driver.Delete(context.WithoutCancel(ctx), "recovered"); err == nil {
			err = derr
		}
	}()
	if err := r.driver.Provision(ctx, req); err != nil {
		return 0, err
	}
	if err := r.driver.Power(ctx, "recovered", site.PowerStart); err != nil {
		return 0, err
	}
	err = r.waitFirstLine(ctx, "recovered")
	return time.Since(began), err
}
