package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"understudy/internal/dr"
)

// Sent is an image file that is sent from some byte on.
type Sent struct {
	io.ReadCloser
	Size int64 // of the whole file, in bytes
}

const (
	// receiveTries is how often a file that breaks off is gone on with when nothing came meanwhile.
	receiveTries = 20
	receivePiece = 1 << 20
)

// receivePause is how long is waited before a file is gone on with; tests wait less.
var receivePause = time.Second

// Receive writes a file that is sent. One that breaks off is gone on with: open is called with the byte to begin at. disk is
// the size of the disk in it.
func Receive(ctx context.Context, req Request, disk int64, open func(ctx context.Context, from int64) (Sent, error)) (Result, error) {
	if req.Progress == nil {
		req.Progress = func(int64, int64) {}
	}
	return place(req, func(f *os.File) (int64, error) {
		var at int64
		for failures := 0; ; {
			before := at
			size, err := receive(ctx, f, &at, req.Progress, open)
			if err == nil {
				return disk, f.Truncate(size)
			}
			if at > before {
				failures = 0
			}
			failures++
			if kind := dr.KindOf(err); ctx.Err() != nil || failures == receiveTries || at == 0 || !broken(err) && kind != dr.KindUnavailable {
				return disk, err
			}
			select {
			case <-ctx.Done():
				return disk, ctx.Err()
			case <-time.After(receivePause):
			}
		}
	})
}

// errBroken is that a file broke off.
var errBroken = errors.New("the file broke off")

func broken(err error) bool { return errors.Is(err, errBroken) }

// receive goes on at a byte, and moves it on over what was written.
func receive(ctx context.Context, f *os.File, at *int64, progress func(done, total int64), open func(context.Context, int64) (Sent, error)) (int64, error) {
	sent, err := open(ctx, *at)
	if err != nil {
		return 0, err
	}
	defer sent.Close()
	buf := make([]byte, receivePiece)
	for *at < sent.Size {
		n, err := io.ReadFull(sent, buf[:min(receivePiece, sent.Size-*at)])
		if n > 0 {
			if werr := writeSparse(f, buf[:n], *at); werr != nil {
				return 0, werr
			}
			*at += int64(n)
			progress(*at, sent.Size)
		}
		if err != nil {
			return 0, fmt.Errorf("%w after %d of %d bytes: %w", errBroken, *at, sent.Size, err)
		}
	}
	return sent.Size, nil
}
