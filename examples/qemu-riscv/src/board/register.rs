/// A register of a device.
pub struct Register<T>(*mut T);

impl<T> Register<T> {
    /// # Safety
    ///
    /// There is a register of this type at `address`, and using it does not touch memory.
    pub const unsafe fn at(address: usize) -> Self {
        Self(address as *mut T)
    }

    pub fn read(&self) -> T {
        // SAFETY: `at` was promised that there is one.
        unsafe { self.0.read_volatile() }
    }

    pub fn write(&self, value: T) {
        // SAFETY: `at` was promised that there is one.
        unsafe { self.0.write_volatile(value) }
    }
}
