package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"

	"github.com/spf13/cobra"

	"understudy/internal/dr"
)

// connectCommand joins a guest, whose connection is standard input and output, to a service of its site.
func (a *App) connectCommand() *cobra.Command {
	return &cobra.Command{
		Use: "connect ADDRESS", Short: "Join standard input and output to a TCP server of this host", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return connect(cmd.Context(), args[0], cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}

// connect returns when the server has said all it has to say. Only the loopback address is connected to.
func connect(ctx context.Context, address string, in io.Reader, out io.Writer) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().IsLoopback() {
		return dr.WithHint(fmt.Errorf("connect to %q: no port of the loopback address", address), dr.KindInvalid, "write it as 127.0.0.1:9101")
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", at.String())
	if err != nil {
		return dr.WithHint(fmt.Errorf("connect: %w", err), dr.KindUnavailable, "start the service")
	}
	defer conn.Close() //nolint:errcheck // read to its end
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	go func() { // ends with the process, or when the guest hangs up
		_, _ = io.Copy(conn, in)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	if _, err := io.Copy(out, conn); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("connect to %s: %w", at, err)
	}
	return nil
}
