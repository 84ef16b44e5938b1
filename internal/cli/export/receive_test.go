package export

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"understudy/internal/dr"
)

// A file that breaks off is gone on with where it was, and given up when nothing comes any more.
func TestReceive(t *testing.T) {
	pause := receivePause
	receivePause = 0
	t.Cleanup(func() { receivePause = pause })
	d := newDisk()
	req := Request{Format: Raw, File: filepath.Join(t.TempDir(), "out.raw")}
	var from []int64
	open := func(_ context.Context, at int64) (Sent, error) {
		from = append(from, at)
		if len(from) == 3 {
			return Sent{}, dr.WithHint(errors.New("no route"), dr.KindUnavailable, "")
		}
		part := d.data[at:min(int64(len(d.data)), at+5<<20)]
		return Sent{ReadCloser: io.NopCloser(bytes.NewReader(part)), Size: d.Size()}, nil
	}
	res, err := Receive(t.Context(), req, d.Size(), open)
	if err != nil || res.Size != d.Size() || len(from) != 6 || from[1] != 5<<20 || from[2] != from[3] {
		t.Fatalf("%+v %v, from %d", res, err, from)
	}
	if got, err := os.ReadFile(req.File); err != nil || !bytes.Equal(got, d.data) {
		t.Errorf("other bytes, %v", err)
	}

	req.File += "2"
	tries := 0
	_, err = Receive(t.Context(), req, d.Size(), func(_ context.Context, at int64) (Sent, error) {
		tries++
		part := []byte{}
		if at == 0 {
			part = d.data[:100]
		}
		return Sent{ReadCloser: io.NopCloser(bytes.NewReader(part)), Size: d.Size()}, nil
	})
	if !errors.Is(err, errBroken) || tries != receiveTries {
		t.Errorf("%d tries: %v", tries, err)
	}
	_, err = Receive(t.Context(), req, d.Size(), func(context.Context, int64) (Sent, error) {
		return Sent{}, dr.WithHint(errors.New("no"), dr.KindForbidden, "")
	})
	if dr.KindOf(err) != dr.KindForbidden {
		t.Error(err)
	}
	if left, err := filepath.Glob(req.File + "*"); err != nil || len(left) != 0 {
		t.Errorf("left: %v %v", left, err)
	}
}
