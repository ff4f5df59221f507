//go:build tools

// Package apiserver pins the release of kube-apiserver that the tests run.
package apiserver

import _ "k8s.io/kubernetes/cmd/kube-apiserver"
