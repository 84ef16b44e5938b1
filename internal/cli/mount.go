package cli

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"understudy/internal/cli/out"
	"understudy/internal/dr"
	"understudy/internal/nbd"
	"understudy/internal/scratch"
)

func (a *App) mountCommand() *cobra.Command {
	var f pointFlags
	var o mountOptions
	cmd := &cobra.Command{
		Use:   "mount-nbd POINT --vault DIR [--socket PATH | --listen HOST:PORT] [--writable OVERLAY]",
		Short: "Serve the disks of a recovery point over NBD until Ctrl-C",
		Long: `Serve the disks of a recovery point for looking at, comparing or booting from. Reads come straight from the vault. With
--writable they can be written too: what is written goes to the folder OVERLAY and never to the vault. A TCP listener has
neither password nor encryption: keep it on the loopback address.`,
		Example: `  understudy mount-nbd latest --vault ./v
  understudy mount-nbd 1-42 --vault main --group shop --socket /tmp/p.sock --writable ./scratch`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf(cmd, false, "socket", "listen"); err != nil {
				return err
			}
			f.point = args[0]
			return a.mount(cmd, f, o)
		},
	}
	f.add(cmd, true)
	cmd.Flags().StringVar(&o.socket, "socket", "", "the unix socket to serve on (default: a new one)")
	cmd.Flags().StringVar(&o.listen, "listen", "", "serve on TCP instead, such as 127.0.0.1:10809")
	cmd.Flags().StringVar(&o.overlay, "writable", "", "allow writes, and keep them in this folder")
	return cmd
}

type mountOptions struct{ socket, listen, overlay string }

// served is one disk that mount-nbd serves.
type served struct {
	Disk     string    `json:"disk"`
	URI      string    `json:"uri"`
	Size     int64     `json:"size"`
	ReadOnly bool      `json:"readOnly"`
	Point    string    `json:"point"`
	Time     time.Time `json:"time"`
}

func (a *App) mount(cmd *cobra.Command, f pointFlags, o mountOptions) (err error) {
	ctx := cmd.Context()
	_, p, err := a.openPoint(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	listener, uri, cleanup, err := o.open()
	if err != nil {
		return err
	}
	defer cleanup()
	server := nbd.NewServer(nbd.ServerOptions{Logger: a.Logger(), Drain: 2 * time.Second})
	defer server.Close()
	var list []served
	for _, m := range p.Machines() {
		for _, d := range m.Disks {
			id := dr.DiskID{Machine: m.Name, Disk: d.Name}
			disk, err := p.Disk(id)
			if err != nil {
				return fmt.Errorf("serve %s: %w", id, err)
			}
			e := nbd.Export{Name: id.String(), Device: disk, ReadOnly: o.overlay == "", Description: "point " + p.Info().ID}
			if o.overlay != "" {
				if err := os.MkdirAll(o.overlay, 0o700); err != nil {
					return fmt.Errorf("serve %s: %w", id, err)
				}
				file := filepath.Join(o.overlay, fmt.Sprintf("%s-%s-%s.overlay", p.Info().ID, id.Machine, id.Disk))
				overlay, err := nbd.NewOverlay(disk, file)
				if err != nil {
					return fmt.Errorf("serve %s: overlay %s: %w", id, file, err)
				}
				defer overlay.Close()
				e.Device = overlay
			}
			if err := server.Add(e); err != nil {
				return fmt.Errorf("serve %s: %w", id, err)
			}
			list = append(list, served{Disk: id.String(), URI: uri(e.Name), Size: disk.Size(), ReadOnly: e.ReadOnly,
				Point: p.Info().ID, Time: p.Info().Time})
		}
	}
	if err := a.printMount(list); err != nil {
		return err
	}
	a.OnInterrupt("closing; Ctrl-C again stops at once")
	if err := server.Serve(ctx, listener); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve point %s: %w", p.Info().ID, err)
	}
	return nil
}

// open listens, and returns how to name an export and how to clean up.
func (o mountOptions) open() (l net.Listener, uri func(export string) string, cleanup func(), err error) {
	if o.listen != "" {
		l, err = net.Listen("tcp", o.listen)
		if err != nil {
			return nil, nil, nil, dr.WithHint(fmt.Errorf("listen: %w", err), dr.KindUnavailable, "choose another address with --listen")
		}
		return l, func(name string) string { return "nbd://" + l.Addr().String() + "/" + name }, func() {}, nil
	}
	socket, cleanup := o.socket, func() {}
	if socket == "" {
		dir, remove, err := scratch.Dir()
		if err != nil {
			return nil, nil, nil, fmt.Errorf("make a socket: %w", err)
		}
		socket, cleanup = filepath.Join(dir, "nbd.sock"), remove
	}
	if socket, err = filepath.Abs(socket); err != nil {
		return nil, nil, nil, err
	}
	l, err = net.Listen("unix", socket)
	if err != nil {
		cleanup()
		return nil, nil, nil, dr.WithHint(fmt.Errorf("listen on %s: %w", socket, err), dr.KindConflict,
			"choose another path of under 100 bytes with --socket, or remove the old socket if nothing serves it")
	}
	return l, func(name string) string { return nbd.URI(socket, name) }, cleanup, nil
}

func (a *App) printMount(list []served) error {
	err := out.List(a.Printer, list, func(s served) string { return s.URI }, "no disks",
		out.Col("DISK", func(s served) string { return s.Disk }),
		out.Num("SIZE", func(s served) string { return out.Bytes(s.Size) }),
		out.Col("URI", func(s served) string { return s.URI }))
	if err != nil || !a.Human() || len(list) == 0 {
		return err
	}
	uri := shellQuote(list[0].URI)
	a.Note("\nIn another terminal, for example:\n  nbdinfo %s\n  qemu-img convert -p -f raw -O qcow2 %s out.qcow2\n  mkdir mnt && nbdfuse mnt %s", uri, uri, uri)
	if strings.HasPrefix(list[0].URI, "nbd+unix:") {
		_, socket, _ := strings.Cut(list[0].URI, "socket=")
		if plain, err := url.QueryUnescape(socket); err == nil {
			socket = plain
		}
		a.Note("  sudo nbd-client -unix %s -N %s /dev/nbd0", shellQuote(socket), list[0].Disk)
	}
	a.Note("Ctrl-C ends it.")
	return nil
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
