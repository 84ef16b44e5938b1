package api

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"understudy/internal/api/wire"
	"understudy/internal/dr"
	"understudy/internal/grant"
	"understudy/internal/imagefile"
	"understudy/internal/recovery"
)

// Operations that take data out.
const (
	opDownloadDisk = "download-disk"
	opMountDisk    = "mount-disk"
)

// serveUsually is how long a disk is served unless another time is asked for.
const serveUsually = time.Hour

// ReadingBackend lets the content of recovery points be read.
type ReadingBackend interface {
	PointMachines(ctx context.Context, group, point string) ([]dr.Machine, error)
	ReadPoint(ctx context.Context, q recovery.PointDisk) (*recovery.Reading, error)
	ServePoint(ctx context.Context, q recovery.PointDisk, ttl time.Duration) (grant.Grant, int64, error)
}

func (s *server) readings(a huma.API) {
	const tag = "points"
	huma.Register(a, op(http.MethodGet, "/v1/groups/{name}/points/{point}/machines", "list-point-machines", tag, "List the machines of a recovery point as they were at its instant"),
		func(ctx context.Context, in *Pointed) (*body[[]dr.Machine], error) {
			list, err := s.backend.PointMachines(ctx, in.Name, in.Point)
			return &body[[]dr.Machine]{orEmpty(list)}, fail(err)
		})
	type wanted struct {
		Pointed
		Machine string `path:"machine"`
		Disk    string `path:"disk"`
		Format  string `query:"format" enum:"raw,qcow2,vhd" default:"raw" doc:"qcow2 and vhd leave out what is empty"`
	}
	huma.Register(a, answers(op(http.MethodGet, "/v1/groups/{name}/points/{point}/disks/{machine}/{disk}", opDownloadDisk, tag,
		"Download a disk of a recovery point as an image file; ranges of it too, for going on where it was broken off"), "application/octet-stream"),
		func(ctx context.Context, in *wanted) (*huma.StreamResponse, error) {
			return s.download(ctx, recovery.PointDisk{Group: in.Name, Point: in.Point, Disk: dr.DiskID{Machine: in.Machine, Disk: in.Disk}, By: caller(ctx)}, in.Format)
		})
	type mount struct {
		Pointed
		Body wire.Mount
	}
	huma.Register(a, op(http.MethodPost, "/v1/groups/{name}/points/{point}/mounts", opMountDisk, tag, "Serve a disk of a recovery point over NBD at the controller's machine, to be read, for a time"),
		func(ctx context.Context, in *mount) (*body[wire.Mounted], error) {
			disk := dr.DiskID{Machine: in.Body.Machine, Disk: in.Body.Disk}
			askingOf(ctx).detail = fmt.Sprintf("point %s, disk %s", in.Point, disk)
			q := recovery.PointDisk{Group: in.Name, Point: in.Point, Disk: disk, By: caller(ctx)}
			g, size, err := s.backend.ServePoint(ctx, q, cmp.Or(time.Duration(in.Body.For), serveUsually))
			if err != nil {
				return nil, fail(err)
			}
			return &body[wire.Mounted]{fromMount(g, disk, size)}, nil
		})
}

func fromMount(g grant.Grant, disk dr.DiskID, size int64) wire.Mounted {
	at, _, _ := strings.Cut(g.Disk, "/")
	_, point, _ := strings.Cut(at, "@")
	m := wire.Mounted{Grant: g.ID, Point: point, Disk: disk.String(), Size: size, Expires: g.Expires.UTC(), URI: g.URI, Export: g.Token}
	if u, err := url.Parse(g.URI); err == nil {
		m.Socket = u.Query().Get("socket")
	}
	return m
}

// download sends a disk as an image file, or ranges of it. It lasts as long as the client takes, or until its grant is revoked.
func (s *server) download(ctx context.Context, q recovery.PointDisk, name string) (*huma.StreamResponse, error) {
	ask := askingOf(ctx)
	ask.detail = fmt.Sprintf("point %s, disk %s as %s", q.Point, q.Disk, name)
	format, err := imagefile.ParseFormat(name)
	if err != nil {
		return nil, fail(err)
	}
	disk, err := s.backend.ReadPoint(ctx, q)
	if err != nil {
		return nil, fail(err)
	}
	file, err := imagefile.New(disk, format, fileName(q, disk.Point.ID))
	if err != nil {
		if cerr := disk.Close(); cerr != nil {
			s.opts.Logger.Error("close recovery point", "group", q.Group, "err", cerr)
		}
		return nil, fail(err)
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		defer func() {
			if err := disk.Close(); err != nil {
				s.opts.Logger.Error("close recovery point", "group", q.Group, "err", err)
			}
		}()
		r, w := humago.Unwrap(c)
		h := w.Header()
		h.Set("Content-Type", "application/octet-stream") // or the beginning would be looked into
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": fmt.Sprintf("%s-%s-%s.%s", q.Disk.Machine, q.Disk.Disk, disk.Point.ID, format)}))
		// Who goes on with a file says with If-Range which one it was: compaction may lay what is empty out otherwise.
		h.Set("ETag", fmt.Sprintf("%q", etag(q, disk.Point.ID, file)))
		h.Set("Cache-Control", "no-store")
		if strings.Contains(r.Header.Get("Range"), ",") {
			r.Header.Del("Range") // of several ranges each would read ahead anew: a short request could ask for the whole vault many times
		}
		content := &ahead{file: file}
		http.ServeContent(w, r, "", time.Time{}, content)
		ask.detail = fmt.Sprintf("point %s, disk %s as %s: %d of %d bytes", disk.Point.ID, q.Disk, format, content.given, file.Size())
		if content.err != nil {
			// What was promised is longer than what was sent, by which the client knows.
			s.opts.Logger.Warn("download", "group", q.Group, "disk", q.Disk, "err", content.err)
			ask.problem = asProblem(fmt.Errorf("%s: %w", ask.detail, content.err))
			ask.problem.Status = http.StatusInternalServerError // it was not refused: a part was sent
		}
	}}, nil
}

// fileName names a disk of a point, whatever it is asked for by.
func fileName(q recovery.PointDisk, point string) string {
	return fmt.Sprintf("%s %s %s", q.Group, point, q.Disk)
}

// etag names a file: two with the same are the same byte for byte.
func etag(q recovery.PointDisk, point string, file *imagefile.File) string {
	sum := sha256.Sum256([]byte(fileName(q, point) + " " + file.Layout()))
	return fmt.Sprintf("%s-%x", point, sum[:12])
}

// aheadBytes is how much of a file is read at a time: several frames of a vault, which are decoded in parallel.
const aheadBytes = 4 << 20

// ahead reads a file in large pieces, and gives it away in what is asked for.
type ahead struct {
	file  *imagefile.File
	at    int64
	buf   []byte
	start int64 // of what is in buf
	given int64
	err   error // that ended it before its end
}

func (a *ahead) Read(p []byte) (int, error) {
	if a.at >= a.file.Size() {
		return 0, io.EOF
	}
	if a.at < a.start || a.at >= a.start+int64(len(a.buf)) {
		if a.buf == nil {
			a.buf = make([]byte, aheadBytes)
		}
		n, err := a.file.ReadAt(a.buf[:min(aheadBytes, a.file.Size()-a.at)], a.at)
		if err != nil && err != io.EOF {
			a.err = err
			return 0, err
		}
		a.buf, a.start = a.buf[:n], a.at
	}
	n := copy(p, a.buf[a.at-a.start:])
	a.at, a.given = a.at+int64(n), a.given+int64(n)
	return n, nil
}

func (a *ahead) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += a.at
	case io.SeekEnd:
		offset += a.file.Size()
	}
	if offset < 0 {
		return a.at, fmt.Errorf("seek to %d", offset)
	}
	a.at = offset
	return offset, nil
}
