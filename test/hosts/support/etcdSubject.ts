/** The store in etcd. This module exports it so that a test can use a mutant (a version with one mistake) instead. */
export * as EtcdLeaseStore from "../../../src/leader/EtcdLeaseStore.ts"
