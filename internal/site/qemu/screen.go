package qemu

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	picture "image"
	"image/color"
	"image/png"
	"io"
	"os"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/internal/site/qemu/qmp"
)

// screenTimeout bounds a picture of the screen.
const screenTimeout = 10 * time.Second

// Screenshot returns what the machine's screen shows.
func (d *Driver) Screenshot(ctx context.Context, name string) ([]byte, error) {
	m, err := d.machine(name)
	if err != nil {
		return nil, err
	}
	if !m.running() {
		return nil, dr.WithHint(fmt.Errorf("screenshot of %s: the machine is off", name), dr.KindUnavailable, "start the machine")
	}
	ctx, cancel := context.WithTimeout(ctx, screenTimeout)
	defer cancel()
	b, err := m.screenshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("screenshot of %s: %w", name, err)
	}
	return b, nil
}

func (m *machine) screenshot(ctx context.Context) ([]byte, error) {
	c, err := m.monitor(ctx)
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(m.dir(), "screen-*")
	if err != nil {
		return nil, err
	}
	defer f.Close()           //nolint:errcheck // only read
	defer os.Remove(f.Name()) //nolint:errcheck // a leftover is small and in the machine's own folder
	err = c.Run(ctx, "screendump", map[string]any{"filename": f.Name(), "format": "png"}, nil)
	var refused *qmp.Error
	if errors.As(err, &refused) && (strings.Contains(refused.Desc, "format") || strings.Contains(refused.Desc, "PNG")) {
		// Older than 7.1, or built without that format.
		err = c.Run(ctx, "screendump", map[string]any{"filename": f.Name()}, nil)
	}
	if errors.As(err, &refused) && strings.Contains(refused.Desc, "console") {
		return nil, dr.WithHint(errors.New("the machine has no screen"), dr.KindConflict, "stop the machine and start it again: then it has one")
	}
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	if err != nil || bytes.HasPrefix(b, []byte("\x89PNG")) {
		return b, err
	}
	return ppmToPNG(b)
}

// ppmToPNG converts a picture of QEMU's own format (https://netpbm.sourceforge.net/doc/ppm.html).
func ppmToPNG(b []byte) ([]byte, error) {
	r := bufio.NewReader(bytes.NewReader(b))
	var w, h, depth int
	if _, err := fmt.Fscanf(r, "P6\n%d %d\n%d\n", &w, &h, &depth); err != nil || depth != 255 || w <= 0 || h <= 0 || w > 1<<14 || h > 1<<14 {
		return nil, fmt.Errorf("no picture of the known kind: %w", err)
	}
	pix := make([]byte, 3*w*h)
	if _, err := io.ReadFull(r, pix); err != nil {
		return nil, fmt.Errorf("picture: %w", err)
	}
	img := picture.NewRGBA(picture.Rect(0, 0, w, h))
	for i := range w * h {
		img.SetRGBA(i%w, i/w, color.RGBA{R: pix[3*i], G: pix[3*i+1], B: pix[3*i+2], A: 255})
	}
	var out bytes.Buffer
	err := png.Encode(&out, img)
	return out.Bytes(), err
}

// Console returns the end of what the machine wrote to its serial console in its latest boot.
func (d *Driver) Console(_ context.Context, name string, limit int) ([]byte, error) {
	m, err := d.machine(name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(m.consolePath())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // never started
	}
	if err != nil {
		return nil, fmt.Errorf("console of %s: %w", name, err)
	}
	defer f.Close() //nolint:errcheck // only read
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("console of %s: %w", name, err)
	}
	n := min(int64(max(limit, 0)), st.Size())
	b, err := io.ReadAll(io.NewSectionReader(f, st.Size()-n, n))
	if err != nil {
		return nil, fmt.Errorf("console of %s: %w", name, err)
	}
	return b, nil
}

var (
	_ site.Screenshoter  = (*Driver)(nil)
	_ site.ConsoleReader = (*Driver)(nil)
)
