package recovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"understudy/internal/dr"
	"understudy/internal/nbd"
	"understudy/internal/store"
	"understudy/internal/vault"
)

// exports serves recovery points to machines that boot from them. Each run has one socket with one export per disk.
// Rows in the store say what is served, so that the same sockets come back after a restart and machines reconnect.
type exports struct {
	o Options

	mu     sync.Mutex
	served map[string]*served
}

// served is one run's socket.
type served struct {
	mu     sync.Mutex // held while it starts or stops
	point  *vault.Point
	server *nbd.Server
	socket string
	done   chan error
}

// uri is where a machine finds a disk.
func uri(e store.Export) string {
	u := url.URL{Scheme: "nbd+unix", Path: "/" + e.Name, RawQuery: url.Values{"socket": {e.Socket}}.Encode()}
	return u.String()
}

// rows are the exports of a run, one per disk of the point, whether it is needed or not.
func (x *exports) rows(p Input, point string, machines []dr.Machine) ([]store.Export, error) {
	socket := filepath.Join(x.o.RunDir, p.Run+".sock")
	if len(socket) > 100 {
		return nil, dr.WithHint(fmt.Errorf("socket path %s is longer than 100 bytes", socket), dr.KindInvalid, "use a data folder with a shorter path (--data)")
	}
	var rows []store.Export
	for _, m := range machines {
		for _, d := range m.Disks {
			rows = append(rows, store.Export{Run: p.Run, Group: p.Group, Vault: p.Vault, Point: point,
				Disk: dr.DiskID{Machine: m.Name, Disk: d.Name}, Name: m.Name + "-" + d.Name, Socket: socket})
		}
	}
	return rows, nil
}

func (x *exports) of(run string) *served {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.served[run]
	if s == nil {
		s = &served{}
		x.served[run] = s
	}
	return s
}

// ensure serves a run's exports; it does nothing when they are served.
func (x *exports) ensure(ctx context.Context, run string) error {
	s := x.of(run)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server != nil {
		return nil
	}
	rows, err := x.o.Store.Exports(ctx, run)
	if err != nil || len(rows) == 0 {
		return err
	}
	if err := x.start(ctx, s, rows); err != nil {
		return fmt.Errorf("serve point %s of group %s: %w", rows[0].Point, rows[0].Group, err)
	}
	return nil
}

func (x *exports) start(ctx context.Context, s *served, rows []store.Export) (err error) {
	v, err := x.o.Vaults(ctx, rows[0].Vault)
	if err != nil {
		return err
	}
	point, err := v.OpenPoint(ctx, rows[0].Group, rows[0].Point)
	if err != nil {
		return err
	}
	server := nbd.NewServer(nbd.ServerOptions{Logger: x.o.Logger})
	defer func() {
		if err != nil {
			err = errors.Join(err, server.Close(), point.Close())
		}
	}()
	for _, e := range rows {
		disk, err := point.Disk(e.Disk)
		if err != nil {
			return err
		}
		if err := server.Add(nbd.Export{Name: e.Name, Device: disk, ReadOnly: true, Description: e.Disk.String() + " at " + e.Point}); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(x.o.RunDir, 0o700); err != nil {
		return err
	}
	// A socket that a dead controller left; no live one shares this data folder.
	if err := os.Remove(rows[0].Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := net.Listen("unix", rows[0].Socket)
	if err != nil {
		return dr.WithHint(err, dr.KindUnavailable, "check the data folder's run directory")
	}
	if err := os.Chmod(rows[0].Socket, 0o600); err != nil {
		l.Close()
		return err
	}
	s.point, s.server, s.socket, s.done = point, server, rows[0].Socket, make(chan error, 1)
	go func() {
		// The exports outlive the step that begins them; drop and close end them.
		s.done <- server.Serve(context.WithoutCancel(ctx), l)
	}()
	return nil
}

// restore serves every export that there is a row of.
func (x *exports) restore(ctx context.Context) error {
	rows, err := x.o.Store.Exports(ctx, "")
	if err != nil {
		return err
	}
	var errs []error
	for i, e := range rows {
		if i == 0 || rows[i-1].Run != e.Run {
			errs = append(errs, x.ensure(ctx, e.Run))
		}
	}
	return errors.Join(errs...)
}

// drop stops serving a run's exports and forgets them.
func (x *exports) drop(ctx context.Context, run string) error {
	s := x.of(run)
	s.mu.Lock()
	defer s.mu.Unlock()
	rows, err := x.o.Store.Exports(ctx, run)
	if err != nil {
		return err
	}
	if err := s.stop(); err != nil {
		return err
	}
	if len(rows) > 0 {
		// A controller that died may have left its socket without this one having served it again.
		if err := os.Remove(rows[0].Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return x.o.Store.DeleteExports(ctx, run)
}

func (s *served) stop() error {
	if s.server == nil {
		return nil
	}
	err := errors.Join(s.server.Close(), <-s.done, s.point.Close())
	s.server = nil
	if e := os.Remove(s.socket); e != nil && !errors.Is(e, os.ErrNotExist) {
		err = errors.Join(err, e)
	}
	return err
}

// close stops serving; the rows stay.
func (x *exports) close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	var errs []error
	for _, s := range x.served {
		s.mu.Lock()
		errs = append(errs, s.stop())
		s.mu.Unlock()
	}
	return errors.Join(errs...)
}
