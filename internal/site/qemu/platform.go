package qemu

import "understudy/internal/site"

// Platform implements site.Platformer: virtio, with addresses on the bus as arguments gives them.
func (d *Driver) Platform() site.Platform {
	return site.Platform{
		Provider: "qemu", Hardware: "virtio",
		Storage: []string{"virtio_pci", "virtio_blk"}, Network: []string{"virtio_net"}, Interfaces: []string{"ens[4-9]", "enp0s[4-9]", "en*"}, KeepsMAC: true,
		Console: "ttyS0", Agent: "qemu-guest-agent", AgentPaths: []string{"usr/sbin/qemu-ga", "usr/bin/qemu-ga"}, AgentInstall: "apt-get install qemu-guest-agent",
		Kernel:  true,
		Windows: "install the virtio drivers in the guest before (virtio-win: viostor and NetKVM)",
	}
}
