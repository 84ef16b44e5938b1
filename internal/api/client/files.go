package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"understudy/internal/dr"
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

// A Download is a disk of a recovery point as an image file, from some byte on.
type Download struct {
	io.ReadCloser
	Size int64  // of the whole file, in bytes
	Tag  string // names the file, to go on with it
}

// DownloadDisk downloads a disk of a recovery point as an image file: raw, qcow2 or vhd. from is the byte to begin at, of the
// file with the tag.
func (c *Client) DownloadDisk(ctx context.Context, group, point string, disk dr.DiskID, format string, from int64, tag string) (d Download, err error) {
	var headers []string
	if from > 0 {
		if tag == "" { // the controller would send the end of whatever file it is now
			return d, dr.WithHint(errors.New("which file it was is not known"), dr.KindInvalid, "begin anew")
		}
		headers = []string{"Range", fmt.Sprintf("bytes=%d-", from), "If-Range", tag}
	}
	at := path("groups", group, "points", point, "disks", disk.Machine, disk.Disk) + query("format", format)
	resp, err := c.send(ctx, http.MethodGet, at, nil, headers...)
	if err != nil {
		return d, err
	}
	d = Download{ReadCloser: resp.Body, Size: from + resp.ContentLength, Tag: resp.Header.Get("ETag")}
	if from > 0 && resp.StatusCode != http.StatusPartialContent {
		return d, errors.Join(dr.WithHint(errors.New("the file is another one now"), dr.KindConflict, "begin anew"), resp.Body.Close())
	}
	return d, nil
}
