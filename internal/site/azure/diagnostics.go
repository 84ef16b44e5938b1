package azure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"net/url"

	"golang.org/x/image/bmp"

	"understudy/internal/dr"
)

// Boot diagnostics are what a machine wrote on its serial console and what its screen shows, kept by Azure, up to some
// minutes old: https://learn.microsoft.com/azure/virtual-machines/boot-diagnostics

const (
	maxSerial = 16 << 20 // bytes that are read
	maxBitmap = 32 << 20
	// maxPixels bounds what a picture takes in memory.
	maxPixels = 16 << 20
)

// Console implements site.ConsoleReader.
func (s *Site) Console(ctx context.Context, name string, limit int) ([]byte, error) {
	data, err := s.diagnostics(ctx, name, "serialConsoleLogBlobUri", maxSerial)
	if err != nil {
		return nil, fmt.Errorf("console of %s: %w", name, explain(err))
	}
	return data[max(0, len(data)-limit):], nil
}

// Screenshot implements site.Screenshoter.
func (s *Site) Screenshot(ctx context.Context, name string) ([]byte, error) {
	fail := func(err error) ([]byte, error) { return nil, fmt.Errorf("screen of %s: %w", name, explain(err)) }
	v, _, err := s.find(ctx, name)
	if err == nil && (v == nil || powers[v.Properties.InstanceView.power()] != dr.PowerOn) {
		err = dr.WithHint(errors.New("the machine does not run"), dr.KindUnavailable, "start it")
	}
	if err != nil {
		return fail(err)
	}
	data, err := s.diagnostics(ctx, name, "consoleScreenshotBlobUri", maxBitmap)
	if err == nil && len(data) == 0 {
		err = dr.WithHint(errors.New("there is no picture yet"), dr.KindUnavailable, "Azure takes one every few minutes: try again")
	}
	if err != nil {
		return fail(err)
	}
	if bytes.HasPrefix(data, []byte("\x89PNG")) {
		return data, nil
	}
	size, err := bmp.DecodeConfig(bytes.NewReader(data))
	if err == nil && (size.Width <= 0 || size.Height <= 0 || size.Width > maxPixels/size.Height) {
		err = fmt.Errorf("a picture of %d by %d", size.Width, size.Height)
	}
	if err != nil {
		return fail(err)
	}
	picture, err := bmp.Decode(bytes.NewReader(data))
	if err != nil {
		return fail(err)
	}
	var out bytes.Buffer
	if err := png.Encode(&out, picture); err != nil {
		return fail(err)
	}
	return out.Bytes(), nil
}

// diagnostics reads one of the things that are kept of a machine; nothing when there is nothing of it yet.
func (s *Site) diagnostics(ctx context.Context, name, which string, limit int64) ([]byte, error) {
	v, _, err := s.find(ctx, name)
	if err != nil || v == nil {
		return nil, err // it never ran
	}
	if !v.Properties.DiagnosticsProfile.BootDiagnostics.Enabled {
		return nil, dr.WithHint(errors.New("boot diagnostics are off"), dr.KindInvalid, "az vm boot-diagnostics enable --ids "+v.ID)
	}
	resp, err := s.rest.send(ctx, call{http.MethodPost, v.ID + "/retrieveBootDiagnosticsData", url.Values{"sasUriExpirationTimeInMinutes": {"10"}}, nil})
	if err != nil {
		return nil, err
	}
	at := map[string]any{}
	if err := decode(resp, &at); err != nil {
		return nil, err
	}
	uri, _ := at[which].(string)
	if uri == "" {
		return nil, dr.WithHint(errors.New("none of it is kept by Azure"), dr.KindUnavailable, "try again in some minutes")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return nil, err
	}
	if resp, err = s.http.Do(req); err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return nil, nil
	case resp.StatusCode != http.StatusOK:
		return nil, dr.WithHint(fmt.Errorf("the store of boot diagnostics answers %s", resp.Status), dr.KindUnavailable, "try again, and see the firewall of the storage account, where it is not Azure's own")
	}
	return io.ReadAll(io.LimitReader(resp.Body, limit))
}
