// Calls GC as a runtime does: libcni with a list of the attachments that are still valid, which cnitool cannot pass.
//
//	libcni-gc DIRECTORY NETWORK [CONTAINER/IFNAME...]
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

func main() {
	if err := gc(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func gc(directory, network string, listed []string) error {
	list, err := libcni.LoadNetworkConf(directory, network)
	if err != nil {
		return err
	}
	valid := []types.GCAttachment{}
	for _, attachment := range listed {
		container, ifname, _ := strings.Cut(attachment, "/")
		valid = append(valid, types.GCAttachment{ContainerID: container, IfName: ifname})
	}
	cni := libcni.NewCNIConfig(filepath.SplitList(os.Getenv("CNI_PATH")), nil)
	return cni.GCNetworkList(context.Background(), list, &libcni.GCArgs{ValidAttachments: valid})
}
