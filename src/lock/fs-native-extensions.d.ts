declare module "fs-native-extensions" {
  const addon: {
    readonly tryLock: (fd: number, offset: number, length: number) => boolean
  }
  export default addon
}
