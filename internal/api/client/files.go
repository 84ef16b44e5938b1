package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// maxFile bounds a report or a piece of evidence, in bytes.
const maxFile = 1 << 30

// Report returns the report on a run: html or json.
func (c *Client) Report(ctx context.Context, run, format string) ([]byte, error) {
	return c.file(ctx, path("runs", run, "report")+query("format", format))
}

// Evidence returns a file that a drill kept.
func (c *Client) Evidence(ctx context.Context, run, name string) ([]byte, error) {
	return c.file(ctx, path("runs", run, "evidence", name))
}

func (c *Client) file(ctx context.Context, path string) ([]byte, error) {
	resp, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxFile))
	if err != nil {
		return nil, fmt.Errorf("read the controller's answer: %w", err)
	}
	return data, nil
}

// ExportAudit writes the whole audit log, an entry a line.
func (c *Client) ExportAudit(ctx context.Context, w io.Writer) error {
	resp, err := c.send(ctx, http.MethodGet, "/v1/audit/export", nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, resp.Body)
	if cerr := resp.Body.Close(); err == nil {
		err = cerr
	}
	return err
}
