package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"understudy/internal/api/client"
	"understudy/internal/cli/export"
	"understudy/internal/cli/out"
	"understudy/internal/dr"
	"understudy/internal/imagefile"
	"understudy/internal/keyring"
	"understudy/internal/vault"
)

// pointFlags choose a recovery point of a vault.
type pointFlags struct {
	vaultFlags
	point string
}

// openPoint opens the vault and the point that the flags choose.
func (a *App) openPoint(ctx context.Context, f pointFlags) (*keyring.Opened, *vault.Point, error) {
	opener, err := a.opener()
	if err != nil {
		return nil, nil, err
	}
	place, err := a.place(ctx, f.vaultFlags)
	if err != nil {
		return nil, nil, err
	}
	v, err := opener.OpenReadable(ctx, place)
	if err != nil {
		return nil, nil, err
	}
	group, err := v.Group(ctx, f.group)
	if err != nil {
		return nil, nil, err
	}
	found, err := v.FindPoint(ctx, group, f.point)
	if err != nil {
		return nil, nil, pointHint(err, v, group)
	}
	p, err := v.OpenPoint(ctx, group, found.ID)
	if err != nil {
		return nil, nil, fmt.Errorf("open point %s of %s: %w", found.ID, group, err)
	}
	return v, p, nil
}

func pointHint(err error, v *keyring.Opened, group string) error {
	if dr.Hint(err) != "" || dr.KindOf(err) != dr.KindNotFound {
		return err
	}
	return dr.WithHint(err, dr.KindNotFound, fmt.Sprintf("see `understudy points list --vault %s --group %s`", v.Dir(), group))
}

func (a *App) restoreCommand() *cobra.Command {
	var f pointFlags
	var disk, format string
	var force, sync bool
	cmd := &cobra.Command{
		Use:   "restore {--vault DIR | --group GROUP} [--point POINT] [--disk MACHINE/DISK] [--format FORMAT] OUT",
		Short: "Write a recovery point to image files",
		Long: `Write the disk of a recovery point to the file OUT, or all its disks to the folder OUT. A folder is one that exists or
ends in a slash. The file appears under its name when it is whole; like a copied file it reaches the disk a little later, unless --sync is
given. Without --format the file's name decides.

Without --vault, the controller sends a disk of a group that it protects, as raw, qcow2 or vhd; one that breaks off goes on where it
was. That takes the right to export.`,
		Example: `  understudy restore --vault ./v --point latest --format vhd out.vhd
  understudy restore --vault ./v --point "2026-11-20 14:00" --disk db/data data.qcow2
  understudy restore --vault main --group shop --point 1-42 --format raw ./all/
  understudy restore --group shop --point latest --disk shop-db/data data.qcow2`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.restore(cmd, f, restoreTo{disk: disk, format: format, path: args[0], force: force, sync: sync})
		},
	}
	f.add(cmd, true)
	cmd.Flags().StringVar(&f.point, "point", "latest", "latest, latest-application, latest-filesystem, an ID, a name, or a time (the newest point at or before it)")
	cmd.Flags().StringVar(&disk, "disk", "", "the disk, as MACHINE/DISK, or DISK where that is enough")
	cmd.Flags().StringVar(&format, "format", "", "raw, qcow2, vhd, vhdx or vmdk")
	cmd.Flags().BoolVar(&force, "force", false, "replace a file that exists")
	cmd.Flags().BoolVar(&sync, "sync", false, "wait until the file is safe from a power failure")
	return cmd
}

type restoreTo struct {
	disk, format, path string
	force, sync        bool
}

// restored is what restore says of one file.
type restored struct {
	export.Result
	Disk    string    `json:"disk"`
	Group   string    `json:"group"`
	Point   string    `json:"point"`
	Time    time.Time `json:"time"`
	Seconds float64   `json:"seconds"`
}

func (a *App) restore(cmd *cobra.Command, f pointFlags, to restoreTo) (err error) {
	ctx := cmd.Context()
	_, folder := strings.CutSuffix(to.path, string(filepath.Separator))
	if st, err := os.Stat(to.path); err == nil && st.IsDir() {
		folder = true
	}
	name := to.path
	if folder {
		name = ""
	}
	format, err := export.ParseFormat(to.format, name)
	if err != nil {
		return err
	}
	src, err := a.restoreSource(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.close()) }()
	disks, err := chooseDisks(src.machines, to.disk)
	if err != nil {
		return err
	}
	if !folder && len(disks) > 1 {
		return invalid("choose one with --disk, or name a folder (with a / at its end) for all of them",
			"restore: point %s has %d disks: %s", src.info.ID, len(disks), joinDisks(disks))
	}
	if folder {
		if err := os.MkdirAll(to.path, 0o755); err != nil {
			return fmt.Errorf("restore: %w", err)
		}
	}
	a.OnInterrupt("stopping; nothing unfinished is left behind. Ctrl-C again stops at once")
	var list []restored
	for _, id := range disks {
		file := to.path
		if folder {
			file = filepath.Join(to.path, strings.ReplaceAll(id.String(), "/", "-")+format.Ext())
		}
		r, err := a.restoreDisk(ctx, src, id, export.Request{Format: format, File: file, Force: to.force, Sync: to.sync})
		if err != nil {
			return err
		}
		list = append(list, r)
		a.Line("%s: %s of %s, %s disk in %s, %s (%s/s)", file, id, src.info.ID, out.Bytes(r.Size), out.Bytes(r.Bytes),
			out.Seconds(r.Seconds), out.Bytes(int64(float64(r.Bytes)/max(r.Seconds, 0.001))))
	}
	if a.Human() {
		return nil
	}
	if !folder {
		return out.One(a.Printer, list[0], list[0].File)
	}
	return out.List(a.Printer, list, func(r restored) string { return r.File }, "no disks")
}

// restoreSource is where disks come from: a recovery point of a vault, or a controller that sends them.
type restoreSource struct {
	info     dr.RecoveryPoint
	machines []dr.Machine
	write    func(ctx context.Context, id dr.DiskID, req export.Request) (export.Result, error)
	close    func() error
}

func (a *App) restoreSource(ctx context.Context, f pointFlags) (src restoreSource, err error) {
	if f.vault == "" && f.group != "" {
		return a.sentPoint(ctx, f)
	}
	_, p, err := a.openPoint(ctx, f)
	if err != nil {
		return src, err
	}
	return restoreSource{info: p.Info(), machines: p.Machines(), close: p.Close,
		write: func(ctx context.Context, id dr.DiskID, req export.Request) (export.Result, error) {
			d, err := p.Disk(id)
			if err != nil {
				return export.Result{}, err
			}
			req.Source = d
			return export.Write(ctx, req)
		}}, nil
}

// sentPoint is a point whose disks the controller sends.
func (a *App) sentPoint(ctx context.Context, f pointFlags) (src restoreSource, err error) {
	api, err := a.client()
	if err != nil {
		return src, err
	}
	src.close = func() error { return nil }
	if src.info, err = api.ShowPoint(ctx, f.group, f.point); err != nil {
		return src, err
	}
	// By its ID from here on: what is the newest changes.
	if src.machines, err = api.ListPointMachines(ctx, f.group, src.info.ID); err != nil {
		return src, err
	}
	src.write = func(ctx context.Context, id dr.DiskID, req export.Request) (export.Result, error) {
		if _, err := imagefile.ParseFormat(string(req.Format)); err != nil {
			return export.Result{}, dr.WithHint(err, dr.KindInvalid, "raw, qcow2 or vhd; others with --vault, where its key is")
		}
		return export.Receive(ctx, req, diskSize(src.machines, id), sameFile(func(ctx context.Context, from int64, tag string) (client.Download, error) {
			return api.DownloadDisk(ctx, f.group, src.info.ID, id, string(req.Format), from, tag)
		}))
	}
	return src, nil
}

// sameFile goes on with the file that the first download was of, whatever failed in between.
func sameFile(download func(ctx context.Context, from int64, tag string) (client.Download, error)) func(context.Context, int64) (export.Sent, error) {
	tag := ""
	return func(ctx context.Context, from int64) (export.Sent, error) {
		d, err := download(ctx, from, tag)
		if from == 0 {
			tag = d.Tag
		}
		return export.Sent{ReadCloser: d.ReadCloser, Size: d.Size}, err
	}
}

func diskSize(machines []dr.Machine, id dr.DiskID) int64 {
	for _, m := range machines {
		for _, d := range m.Disks {
			if m.Name == id.Machine && d.Name == id.Disk {
				return d.Size
			}
		}
	}
	return 0
}

func (a *App) restoreDisk(ctx context.Context, src restoreSource, id dr.DiskID, req export.Request) (restored, error) {
	began := a.Now()
	bar := a.Transfer("restore " + id.String())
	defer bar.Finish()
	req.Progress = bar.Update
	res, err := src.write(ctx, id, req)
	if err != nil {
		return restored{}, fmt.Errorf("restore %s of point %s: %w", id, src.info.ID, err)
	}
	return restored{Result: res, Disk: id.String(), Group: src.info.Group, Point: src.info.ID, Time: src.info.Time, Seconds: a.Now().Sub(began).Seconds()}, nil
}

// chooseDisks returns the disks that a person means: those named machine/disk or disk, or all of the guests.
func chooseDisks(machines []dr.Machine, name string) ([]dr.DiskID, error) {
	var all, found []dr.DiskID
	for _, m := range machines {
		for _, d := range m.Disks {
			id := dr.DiskID{Machine: m.Name, Disk: d.Name}
			if name != "" && (id.String() == name || d.Name == name) {
				found = append(found, id)
			}
			if d.Role == dr.RoleDisk {
				all = append(all, id)
			}
		}
	}
	switch {
	case name == "" && len(all) > 0:
		return all, nil
	case len(found) == 1:
		return found, nil
	case len(found) > 1:
		return nil, invalid("write it as MACHINE/DISK", "disk %s is one of several: %s", name, joinDisks(found))
	}
	return nil, dr.WithHint(fmt.Errorf("no disk %q in this point", name), dr.KindNotFound, "disks: "+joinDisks(all))
}

func joinDisks(ids []dr.DiskID) string {
	var names []string
	for _, id := range ids {
		names = append(names, id.String())
	}
	slices.Sort(names)
	return joinNames(names)
}

func joinNames(names []string) string { return strings.Join(names, ", ") }
